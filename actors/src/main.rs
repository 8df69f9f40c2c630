//! The command `evolution`.

fn main() {
    println!("evolution {}", env!("CARGO_PKG_VERSION"));
}
