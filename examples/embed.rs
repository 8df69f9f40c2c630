//! pgflow inside a program: one kind of message, its handler, one publish.
use pgflow::{Config, Context, Failure, Handler, Message, Queue, Runtime};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct SendReceipt {
    order_id: i64,
}
impl Message for SendReceipt {
    const KIND: &'static str = "send_receipt";
    const QUEUE: &'static str = "mail";
}

struct Mailer; // one in each worker: its fields need no lock
impl Handler for Mailer {
    type Message = SendReceipt;
    async fn handle(&mut self, m: SendReceipt, cx: &mut Context<'_>) -> Result<(), Failure> {
        println!("receipt for order {}, try {}", m.order_id, cx.attempt()); // `?` on an error means: retry later
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("DATABASE_URL")?;
    pgflow::migrate::migrate(&mut pgflow::connect(&url, "embed").await?, "public").await?;
    let queue = Queue::new("mail").workers(8);
    let runtime = Runtime::builder(Config::new(url)).queue(queue).handler(|| Mailer).start().await?;
    runtime.publisher().publish(&SendReceipt { order_id: 1 }).await?;
    tokio::signal::ctrl_c().await?;
    Ok(runtime.stop(std::time::Duration::from_secs(20)).await?)
}
