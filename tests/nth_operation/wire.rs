//! A network between pgflow and the server that knows the protocol: it sees every operation, and has the planned ones fail.
//!
//! An operation is what the server answers with one ReadyForQuery: a simple query, or all up to a Sync. Operations may be sent ahead
//! of their answers; so each one sent stands in a line, and the first in the line is the one being answered.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
};

use super::{
    fault::{How, Plan},
    frame::{parameter, query, split, take_frame, text},
    statements::{Statements, other},
};

const REFUSAL: &str = "DO $$BEGIN RAISE EXCEPTION 'refused by the test' USING ERRCODE = '53200'; END$$";
/// A COMMIT that fails has ended the transaction.
const REFUSED_COMMIT: &str =
    "ROLLBACK; DO $$BEGIN RAISE EXCEPTION 'refused by the test' USING ERRCODE = '53200'; END$$";
const CANCEL_REQUEST: u32 = 80_877_102;

/// What befalls all connections of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// They end, and new ones end at once.
    Unplugged(&'static str),
    /// Those that stand end on the client's side; the server is not told.
    HalfOpen(&'static str),
}

/// Listens on a port of its own, until it is dropped.
pub(crate) struct Net {
    pub(crate) port: u16,
    pub(crate) plan: Arc<Plan>,
    weather: watch::Sender<Weather>,
    _accepting: JoinSet<()>,
}

impl Net {
    /// To a server's Unix socket.
    pub(crate) async fn to(socket: PathBuf, statements: Arc<Statements>, plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (plan, weather) = (Arc::new(plan), watch::channel(Weather::Fair).0);
        let mut accepting = JoinSet::new();
        let (its_plan, forecast) = (plan.clone(), weather.subscribe());
        accepting.spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let line = Line::new(statements.clone(), its_plan.clone());
                // However a line ends, both its sides end with it.
                lines.spawn(line.carry(client, socket.clone(), forecast.clone()));
            }
        });
        Self { port, plan, weather, _accepting: accepting }
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

/// An operation that the server has not answered yet.
struct Sent(Option<How>);

/// One connection.
struct Line {
    statements: Arc<Statements>,
    plan: Arc<Plan>,
    application: String,
    /// Prepared here: name and text.
    prepared: HashMap<Vec<u8>, String>,
    /// The frames of the operation that the client is sending.
    frames: Vec<u8>,
    /// What the operation is called that the client is sending, as far as its frames tell.
    operation: Option<String>,
    /// Of the open transaction: the store's first statement in it.
    transaction: Option<String>,
    sent: VecDeque<Sent>,
    /// The server takes COPY data: what it answers comes after that.
    copying: bool,
    /// The answer to an operation that ends the connection.
    held: Vec<u8>,
}

/// What to do with what was read.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Cut,
}

impl Line {
    fn new(statements: Arc<Statements>, plan: Arc<Plan>) -> Self {
        Self {
            statements,
            plan,
            application: String::new(),
            prepared: HashMap::new(),
            frames: Vec::new(),
            operation: None,
            transaction: None,
            sent: VecDeque::new(),
            copying: false,
            held: Vec::new(),
        }
    }

    async fn carry(mut self, mut client: TcpStream, socket: PathBuf, mut weather: watch::Receiver<Weather>) {
        let Ok(mut server) = UnixStream::connect(socket).await else { return };
        let _ = client.set_nodelay(true);
        let Ok(length @ 8..) = client.read_u32().await else { return };
        let mut startup = vec![0; length as usize - 4];
        if client.read_exact(&mut startup).await.is_err() {
            return;
        }
        let mut first = length.to_be_bytes().to_vec();
        first.extend(&startup);
        if server.write_all(&first).await.is_err() {
            return;
        }
        if startup.starts_with(&CANCEL_REQUEST.to_be_bytes()) {
            let _ = tokio::io::copy(&mut server, &mut client).await;
            return;
        }
        self.application = parameter(&startup[4..], "application_name");
        let (mut up, mut down) = (Vec::new(), Vec::new());
        // What there was before we came does not concern us, but for a network that is down.
        if matches!(*weather.borrow_and_update(), Weather::Unplugged(whose) if self.application.starts_with(whose)) {
            return;
        }
        loop {
            // Nothing is sent behind an operation that ends the connection.
            let doomed = self.sent.back().is_some_and(|sent| sent.0 == Some(How::CutAfter)) && !self.copying;
            let mut out = Vec::new();
            tokio::select! {
                changed = weather.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = *weather.borrow_and_update();
                    match now {
                        Weather::Unplugged(whose) if self.application.starts_with(whose) => return,
                        Weather::HalfOpen(whose) if self.application.starts_with(whose) => {
                            drop(client);
                            while server.read_buf(&mut down).await.is_ok_and(|n| n > 0) {}
                            return;
                        }
                        _ => {}
                    }
                }
                read = client.read_buf(&mut up), if !doomed => {
                    if !read.is_ok_and(|n| n > 0) {
                        return;
                    }
                    let next = self.upward(&mut up, &mut out);
                    if next == Next::Cut || server.write_all(&out).await.is_err() {
                        return;
                    }
                }
                read = server.read_buf(&mut down) => {
                    if !read.is_ok_and(|n| n > 0) {
                        return;
                    }
                    let next = self.downward(&mut down, &mut out);
                    if client.write_all(&out).await.is_err() || next == Next::Cut {
                        return;
                    }
                }
            }
        }
    }

    /// From the client: whole operations go on, or fail.
    fn upward(&mut self, read: &mut Vec<u8>, out: &mut Vec<u8>) -> Next {
        while let Some((kind, frame)) = take_frame(read) {
            if self.copying || kind == b'X' {
                out.extend(frame);
                continue;
            }
            self.look_at(kind, &frame[5..]);
            self.frames.extend(frame);
            if kind != b'S' && kind != b'Q' {
                continue;
            }
            let frames = std::mem::take(&mut self.frames);
            let operation = self.operation.take();
            let how = operation.as_deref().and_then(|operation| self.plan.begins(operation));
            match how {
                Some(How::CutBefore) => return Next::Cut,
                Some(How::Refused) => {
                    let commit = operation.is_some_and(|operation| operation.starts_with("COMMIT"));
                    out.extend(query(if commit { REFUSED_COMMIT } else { REFUSAL }));
                }
                Some(How::CutAfter) | None => out.extend(frames),
            }
            self.sent.push_back(Sent(how));
            if how == Some(How::CutAfter) {
                return Next::GoOn;
            }
        }
        Next::GoOn
    }

    /// From the server: answers go on, but for those to operations that fail.
    fn downward(&mut self, read: &mut Vec<u8>, out: &mut Vec<u8>) -> Next {
        while let Some((kind, frame)) = take_frame(read) {
            let how = self.sent.front().and_then(|sent| sent.0);
            match (how, kind) {
                // Notices, parameters and notifications are no answers.
                (_, b'N' | b'S' | b'A') | (None, _) | (Some(How::Refused), b'E' | b'Z') => out.extend(frame),
                (Some(How::Refused), _) => {}
                (Some(_), b'G') => {
                    out.append(&mut self.held);
                    out.extend(frame);
                }
                (Some(_), b'Z') => return Next::Cut,
                (Some(_), _) => self.held.extend(frame),
            }
            match kind {
                b'G' => self.copying = true,
                b'Z' => {
                    self.copying = false;
                    self.sent.pop_front();
                }
                _ => {}
            }
        }
        Next::GoOn
    }

    /// Learns from a frame what its operation is called.
    fn look_at(&mut self, kind: u8, body: &[u8]) {
        match kind {
            b'Q' => {
                let text = text(body);
                self.operation = Some(self.called(&text));
            }
            b'P' => {
                let (name, rest) = split(body);
                let text = text(rest);
                self.operation = Some(format!("prepare {}", self.called(&text)));
                self.prepared.insert(name.to_vec(), text);
            }
            b'B' => {
                let (_, rest) = split(body);
                let text = self.prepared.get(split(rest).0).cloned().unwrap_or_default();
                self.operation = Some(self.called(&text));
            }
            _ => {}
        }
    }

    /// A COMMIT is called by what it commits.
    fn called(&mut self, text: &str) -> String {
        if let Some(name) = self.statements.name(text).map(str::to_owned) {
            if self.transaction.as_ref().is_some_and(String::is_empty) {
                self.transaction = Some(name.clone());
            }
            return name;
        }
        let other = other(text, &self.application);
        match other.split(' ').next() {
            Some("BEGIN" | "START") => self.transaction = Some(String::new()),
            Some("COMMIT") => match self.transaction.take() {
                Some(first) if !first.is_empty() => return format!("COMMIT of {first}"),
                _ => {}
            },
            Some("ROLLBACK") => self.transaction = None,
            _ => {}
        }
        other
    }
}
