//! A network between publisher and server that fails on command.

use std::{path::PathBuf, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};

use crate::support::cluster;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It works.
    Up,
    /// Connections end, and new ones end at once.
    Down,
    /// What the client sends arrives; the first byte of an answer ends the client's side instead of arriving.
    Deaf,
    /// Like `Up` for so many answers, then like `Deaf`; then all is `Up`.
    DeafAfter(u32),
    /// What the client sends next ends its side, and is kept: it arrives at the server when the mode changes to `Late`.
    Held,
    /// Works, and what was held arrives now.
    Late,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: Arc<watch::Sender<Mode>>,
    /// How many clients' sides were ended by `Deaf` or `Held`.
    cuts: watch::Sender<u32>,
}

impl Proxy {
    pub(crate) async fn new() -> Self {
        let url: tokio_postgres::Config = cluster().url().parse().unwrap();
        let tokio_postgres::config::Host::Unix(folder) = &url.get_hosts()[0] else { panic!("tests use a socket") };
        let socket = folder.join(format!(".s.PGSQL.{}", url.get_ports().first().copied().unwrap_or(5432)));
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = front.local_addr().unwrap().port();
        let (mode, cuts) = (Arc::new(watch::channel(Mode::Up).0), watch::channel(0).0);
        tokio::spawn({
            let (mode, cuts) = (mode.clone(), cuts.clone());
            async move {
                while let Ok((client, _)) = front.accept().await {
                    if *mode.borrow() != Mode::Down {
                        tokio::spawn(carry(client, socket.clone(), mode.clone(), cuts.clone()));
                    }
                }
            }
        });
        Self { port, mode, cuts }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Lets so many answers through, loses one, and works again.
    pub(crate) fn deaf_after(&self, answers: u32) {
        self.set(Mode::DeafAfter(answers));
    }

    /// Waits until so many clients' sides were ended.
    pub(crate) async fn cut(&self, times: u32) {
        self.cuts.subscribe().wait_for(|n| *n >= times).await.unwrap();
    }
}

async fn carry(client: TcpStream, socket: PathBuf, modes: Arc<watch::Sender<Mode>>, cuts: watch::Sender<u32>) {
    let mut mode = modes.subscribe();
    let mut server = UnixStream::connect(socket).await.unwrap();
    let mut client = client;
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let now = *mode.borrow_and_update();
        if now == Mode::Down {
            return;
        }
        tokio::select! {
            changed = mode.changed() => if changed.is_err() { return },
            read = client.read(&mut up) => {
                let Ok(n @ 1..) = read else { return };
                if *mode.borrow() == Mode::Held {
                    drop(client);
                    cuts.send_modify(|n| *n += 1);
                    mode.wait_for(|mode| *mode == Mode::Late).await.unwrap();
                    server.write_all(&up[..n]).await.unwrap();
                    // The answer shows that the server has done it.
                    let _ = server.read(&mut down).await;
                    cuts.send_modify(|n| *n += 1);
                    return;
                }
                if server.write_all(&up[..n]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(n @ 1..) = read else { return };
                let mut deaf = false;
                modes.send_if_modified(|mode| match mode {
                    Mode::Deaf => {
                        deaf = true;
                        false
                    }
                    Mode::DeafAfter(left) => {
                        deaf = *left == 0;
                        *mode = left.checked_sub(1).map_or(Mode::Up, Mode::DeafAfter);
                        true
                    }
                    _ => false,
                });
                if deaf {
                    drop(client);
                    cuts.send_modify(|n| *n += 1);
                    return;
                }
                if client.write_all(&down[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}
