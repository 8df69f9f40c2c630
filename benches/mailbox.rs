//! A hop between actors: the floor under every step of a message inside a runtime.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::{runtime::Runtime, sync::oneshot};

/// Messages that wait in the mailbox at once.
const BURST: u64 = 1_000;

/// Handles what it is sent, and says so where it is asked.
struct Echo;

enum Msg {
    /// Nothing to say.
    Pass,
    /// Say that this one was handled.
    Answer(oneshot::Sender<()>),
}

impl Actor for Echo {
    type Msg = Msg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Msg>, message: Msg, (): &mut ()) -> Result<(), ActorProcessingErr> {
        if let Msg::Answer(reply) = message {
            let _ = reply.send(());
        }
        Ok(())
    }
}

/// Casts so many messages and waits until the last was handled.
async fn hop(echo: &ActorRef<Msg>, messages: u64) {
    for _ in 1..messages {
        echo.cast(Msg::Pass).expect("it runs");
    }
    let (reply, handled) = oneshot::channel();
    echo.cast(Msg::Answer(reply)).expect("it runs");
    handled.await.expect("it answers");
}

fn mailbox(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let (echo, ended) = runtime.block_on(Actor::spawn(None, Echo, ())).expect("it starts");
    let mut group = c.benchmark_group("mailbox");
    // One at a time: the actor sleeps and is woken, and so is who asked.
    group.throughput(Throughput::Elements(1));
    group.bench_function("alone", |b| b.to_async(&runtime).iter(|| hop(&echo, 1)));
    group.throughput(Throughput::Elements(BURST));
    group.bench_function("burst", |b| b.to_async(&runtime).iter(|| hop(&echo, BURST)));
    group.finish();
    echo.stop(None);
    runtime.block_on(ended).expect("it ends");
}

criterion_group!(benches, mailbox);
criterion_main!(benches);
