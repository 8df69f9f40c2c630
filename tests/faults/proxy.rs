//! A bad network of our own, between one process and the server: on the loopback, and it ends with its cell.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rand::RngExt as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream, tcp},
    task::JoinSet,
};

/// The server's keepalives, as pgflow's sessions set them (5 s, then three times 2 s), give a silent peer up after so long.
/// Between the server and this proxy there is nothing to probe: a Unix socket.
const PROBED_FOR: Duration = Duration::from_secs(11);

/// What the network does now. All zero and false: nothing.
#[derive(Default)]
pub struct Weather {
    /// Each piece is held back for up to so long.
    pub delay_ms_max: AtomicU64,
    /// Each direction passes so much.
    pub bytes_per_s: AtomicU64,
    /// Of 1,000 commits and inserts answered, so many are answered by a reset instead.
    pub resets_per_mille: AtomicU32,
    /// Nothing passes, nothing is lost: what is sent arrives when it is over. New connections wait as well.
    pub parted: AtomicBool,
    /// What the listener's connection is sent is no longer read.
    pub deaf_listener: AtomicBool,
    /// New connections are reset.
    pub refuses: AtomicBool,
    /// Connections older than this number swallow all that is sent, both ways, and say nothing.
    swallow_below: AtomicU64,
    made: AtomicU64,
    /// How often a fault was done to a connection.
    pub done: AtomicU64,
}

impl Weather {
    /// Every connection that there is becomes half open, for ever; new ones work.
    pub fn swallow_all_so_far(&self) {
        self.swallow_below.store(self.made.load(Relaxed), Relaxed);
    }

    fn swallows(&self, number: u64) -> bool {
        number < self.swallow_below.load(Relaxed)
    }
}

/// Listens on a port of its own, until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    pub weather: Arc<Weather>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// To a server's Unix socket.
    pub async fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let weather = Arc::new(Weather::default());
        let mut accepting = JoinSet::new();
        let sky = weather.clone();
        accepting.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                passing.spawn(pass(client, socket.clone(), sky.clone()));
            }
        });
        Self { address, weather, _accepting: accepting }
    }
}

/// One direction's end: why the other must end as well.
enum End {
    Closed,
    Reset,
}

async fn pass(client: TcpStream, socket: PathBuf, weather: Arc<Weather>) {
    let number = weather.made.fetch_add(1, Relaxed);
    calm(&weather).await;
    if weather.refuses.load(Relaxed) {
        return reset(client);
    }
    let Ok(server) = UnixStream::connect(socket).await else {
        return reset(client);
    };
    let _ = client.set_nodelay(true);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let listens = AtomicBool::new(false);
    let line = Line { weather: &weather, number, listens: &listens };
    let end = tokio::select! {
        end = line.carry(&mut from_client, &mut to_server, true) => end,
        end = line.carry(&mut from_server, &mut to_client, false) => end,
    };
    // A parted network brings no news of an end, either.
    calm(&weather).await;
    if matches!(end, End::Reset) {
        reset(join(from_client, to_client));
    }
}

fn join(one: tcp::OwnedReadHalf, two: tcp::OwnedWriteHalf) -> TcpStream {
    one.reunite(two).expect("of one stream")
}

/// Closed at once, unread bytes or not: the peer gets a reset.
fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

async fn calm(weather: &Weather) {
    while weather.parted.load(Relaxed) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Line<'a> {
    weather: &'a Weather,
    number: u64,
    listens: &'a AtomicBool,
}

impl Line<'_> {
    async fn carry<R, W>(&self, from: &mut R, to: &mut W, upward: bool) -> End
    where
        R: AsyncReadExt + Unpin,
        W: AsyncWriteExt + Unpin,
    {
        let w = self.weather;
        let mut buffer = vec![0; 8_192];
        loop {
            while !upward && w.deaf_listener.load(Relaxed) && self.listens.load(Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let n = match from.read(&mut buffer).await {
                Ok(n) if n > 0 => n,
                // A process that is gone acknowledges no probe: the server finds out by itself.
                _ if w.swallows(self.number) && upward => {
                    tokio::time::sleep(PROBED_FOR).await;
                    return End::Closed;
                }
                // Nobody tells the process. It ends with the cell.
                _ if w.swallows(self.number) => std::future::pending().await,
                _ => return End::Closed,
            };
            let bytes = &buffer[..n];
            if upward && contains(bytes, b"pgflow listener") {
                self.listens.store(true, Relaxed);
            }
            if w.swallows(self.number) {
                w.done.fetch_add(1, Relaxed);
                continue;
            }
            let answers = contains(bytes, b"COMMIT\0") || contains(bytes, b"INSERT 0 1\0");
            if !upward && answers && rand::rng().random_range(0..1_000) < w.resets_per_mille.load(Relaxed) {
                w.done.fetch_add(1, Relaxed);
                return End::Reset;
            }
            let longest = w.delay_ms_max.load(Relaxed);
            if longest > 0 {
                w.done.fetch_add(1, Relaxed);
                let held = rand::rng().random_range(0..longest);
                tokio::time::sleep(Duration::from_millis(held)).await;
            }
            let rate = w.bytes_per_s.load(Relaxed);
            if let Some(ms) = (n as u64 * 1_000).checked_div(rate) {
                w.done.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            calm(w).await;
            if to.write_all(bytes).await.is_err() {
                return End::Closed;
            }
        }
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
