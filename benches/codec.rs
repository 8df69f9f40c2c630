//! What a body costs: an order of 300 bytes to a message that is ready to be sent, and back, in both codecs.

mod message;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use message::{Compact, Order, order};
use pgflow::{Codec, Encoded, Message, Outgoing};

fn encode(c: &mut Criterion) {
    let (json, postcard) = (order(), Compact(order()));
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    group.bench_function("json", |b| b.iter(|| Outgoing::new(black_box(&json)).expect("it encodes")));
    group.bench_function("postcard", |b| b.iter(|| Outgoing::new(black_box(&postcard)).expect("it encodes")));
    group.finish();
}

fn decode(c: &mut Criterion) {
    let json = serde_json::to_vec(&order()).expect("it encodes");
    let postcard = postcard::to_stdvec(&order()).expect("it encodes");
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    group.bench_function("json", |b| b.iter(|| read::<Order>(Codec::Json, black_box(&json))));
    group.bench_function("postcard", |b| b.iter(|| read::<Compact>(Codec::Postcard, black_box(&postcard))));
    group.finish();
}

fn read<M: Message>(codec: Codec, body: &[u8]) -> M {
    M::decode(Encoded { version: M::VERSION, codec, body }).expect("it decodes")
}

criterion_group!(benches, encode, decode);
criterion_main!(benches);
