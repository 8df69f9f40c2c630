//! What a handler's call costs besides the handler: a worker's own run (find, decode, validate, catch a panic, judge) without queue
//! and database.

mod message;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use message::{Compact, Order, order};
use pgflow::{Config, Context, Failure, Handler, Message, Outgoing, testing::Caller};
use tokio::runtime::Runtime;

/// Does nothing.
struct Nothing<M>(std::marker::PhantomData<M>);

impl<M: Message> Handler for Nothing<M> {
    type Message = M;

    async fn handle(&mut self, _: M, _: &mut Context<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

fn call(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    // Nobody connects: the handler opens no transaction.
    let caller = runtime.block_on(Caller::connect(&Config::new("postgresql://localhost/unused"))).expect("a caller");
    let json = Outgoing::new(&order()).expect("it encodes");
    let postcard = Outgoing::new(&Compact(order())).expect("it encodes");
    let mut group = c.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(1));
    group.bench_function("json", |b| {
        b.to_async(&runtime).iter(async || {
            caller.call(&mut Nothing::<Order>(std::marker::PhantomData), &json, 1).await.expect("it is handled");
        });
    });
    group.bench_function("postcard", |b| {
        b.to_async(&runtime).iter(async || {
            caller.call(&mut Nothing::<Compact>(std::marker::PhantomData), &postcard, 1).await.expect("it is handled");
        });
    });
    group.finish();
}

criterion_group!(benches, call);
criterion_main!(benches);
