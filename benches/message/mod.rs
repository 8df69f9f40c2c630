//! The message that is measured: 300 bytes of JSON, in either codec.

use pgflow::{Codec, Message};
use serde::{Deserialize, Serialize};

/// An order with a few fields of each kind.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    order_id: i64,
    customer: String,
    express: bool,
    items: Vec<Item>,
    note: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct Item {
    article: u32,
    pieces: u16,
    price_cents: i64,
}

impl Message for Order {
    const KIND: &'static str = "order";
    const QUEUE: &'static str = "orders";
}

/// The same fields in the compact codec.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Compact(pub(crate) Order);

impl Message for Compact {
    const KIND: &'static str = "compact_order";
    const QUEUE: &'static str = "orders";
    const CODEC: Codec = Codec::Postcard;
}

/// With a note that fills its JSON up to 300 bytes.
pub(crate) fn order() -> Order {
    let items = (1..=3).map(|n| Item { article: 10_000 + n, pieces: 2, price_cents: 1_999 }).collect();
    let mut order = Order { order_id: 4_711, customer: "Ada".into(), express: true, items, note: String::new() };
    let bytes = serde_json::to_vec(&order).expect("it encodes").len();
    order.note = "n".repeat(300 - bytes);
    order
}
