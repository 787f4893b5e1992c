//! The server: connections, and the site on the disk.

use core::str::FromStr;

use rt::Errno;
use rt::alloc::string::String;
use rt::alloc::vec;
use rt::alloc::vec::Vec;
use rt::disk::Disk;
use rt::net::smoltcp::iface::SocketHandle;
use rt::net::smoltcp::socket::tcp;
use rt::net::{Network, Problem, smoltcp};
use web_server::http::{self, Refusal};
use web_server::pages::{self, BLOCK, Damage, File, VISITS};

rt::entry!(main);

/// Connections at a time, those that wait for one included.
const CONNECTIONS: usize = 24;
/// Bytes of what has come, and of what is to be sent, of a connection.
const RECEIVE_WINDOW: usize = 2048;
const SEND_WINDOW: usize = 8192;
/// A connection on which nothing happens ends.
const IDLE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(60);
/// Most bytes of a page.
const PAGE_LIMIT: usize = 128 * 1024;
/// What stands in a page for the number of visitors.
const PLACE_OF_VISITS: &str = "{visits}";

/// The error for what the archive is not.
struct Broken(Errno);

impl From<Damage> for Broken {
    fn from(damage: Damage) -> Broken {
        rt::println!("the disk holds no archive: {damage:?}; expected what tar --format=ustar writes");
        Broken(Errno::EINVAL)
    }
}

/// The pages, and the visitors.
struct Site {
    disk: Disk,
    files: Vec<File>,
    visits: Option<(File, u64)>,
}

impl Site {
    fn open() -> Result<Site, Errno> {
        let mut disk = Disk::open()?;
        let files = pages::list(disk.sectors(), |block, bytes| disk.read(block, bytes).map_err(Broken));
        let files = files.map_err(|Broken(errno)| errno)?;
        let mut site = Site {
            disk,
            files,
            visits: None,
        };
        let counter = site
            .files
            .iter()
            .find(|file| file.name == VISITS && file.size <= BLOCK)
            .cloned();
        if let Some(file) = counter.filter(|_| !site.disk.is_read_only()) {
            let bytes = site.read(&file)?;
            let count = pages::visits(&bytes).ok_or(Errno::EINVAL)?;
            site.visits = Some((file, count));
        }
        Ok(site)
    }

    fn read(&mut self, file: &File) -> Result<Vec<u8>, Errno> {
        if file.size > PAGE_LIMIT {
            return Err(Errno::E2BIG);
        }
        let mut bytes = vec![0; file.size.next_multiple_of(BLOCK)];
        if !bytes.is_empty() {
            self.disk.read(file.block, &mut bytes)?;
        }
        bytes.truncate(file.size);
        Ok(bytes)
    }

    /// Counts a visitor; the disk knows when this returns.
    fn count(&mut self) -> Result<u64, Errno> {
        let Some((file, count)) = &mut self.visits else {
            return Ok(0);
        };
        let next = *count + 1;
        let mut block = [0; BLOCK];
        if !pages::set_visits(&mut block[..file.size], next) {
            return Err(Errno::E2BIG);
        }
        self.disk.write(file.block, &block)?;
        self.disk.flush()?;
        *count = next;
        Ok(next)
    }

    fn page(&mut self, path: &str) -> Result<(&'static str, &'static str, Vec<u8>), Errno> {
        let name = match path.trim_start_matches('/') {
            "" => "index.html",
            name => name,
        };
        let found = self
            .files
            .iter()
            .find(|file| file.name == name && name != VISITS)
            .cloned();
        let Some(file) = found else {
            return Ok(("404 Not Found", "text/plain", b"not found\n".to_vec()));
        };
        let mut bytes = self.read(&file)?;
        if path == "/" {
            let visits = self.count()?;
            if let Ok(text) = core::str::from_utf8(&bytes) {
                bytes = text
                    .replace(PLACE_OF_VISITS, &rt::alloc::format!("{visits}"))
                    .into_bytes();
            }
        }
        Ok(("200 OK", http::kind_of(name), bytes))
    }
}

/// A connection.
struct Connection {
    handle: SocketHandle,
    received: Vec<u8>,
    answer: Vec<u8>,
    sent: usize,
    ends: bool,
}

impl Connection {
    /// Does what can be done; the request that is complete is answered.
    fn serve(&mut self, socket: &mut tcp::Socket<'_>, site: &mut Site, port: u16) -> Result<(), Errno> {
        if !socket.is_open() {
            (self.received, self.answer) = (Vec::new(), Vec::new());
            (self.sent, self.ends) = (0, false);
            socket.set_timeout(Some(IDLE));
            // It is closed, and the port is not 0.
            return socket.listen(port).map_err(|_| Errno::EINVAL);
        }
        while socket.can_recv() && self.received.len() <= http::HEAD_LIMIT {
            let room = http::HEAD_LIMIT + 1 - self.received.len();
            let taken = socket.recv(|bytes| {
                let taken = bytes.len().min(room);
                self.received.extend_from_slice(&bytes[..taken]);
                (taken, taken)
            });
            if taken.is_err() {
                break;
            }
        }
        loop {
            self.send(socket);
            if self.sent < self.answer.len() {
                return Ok(());
            }
            if self.ends {
                socket.close();
                return Ok(());
            }
            if !self.answer_next(site)? {
                break;
            }
        }
        if socket.state() == tcp::State::CloseWait {
            socket.close();
        }
        Ok(())
    }

    fn send(&mut self, socket: &mut tcp::Socket<'_>) {
        while self.sent < self.answer.len() && socket.can_send() {
            match socket.send_slice(&self.answer[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(_) => return,
            }
        }
    }

    /// Makes the answer to the next request; false when there is none yet.
    fn answer_next(&mut self, site: &mut Site) -> Result<bool, Errno> {
        let (answer, length) = match http::parse(&self.received) {
            Ok(None) => return Ok(false),
            Ok(Some(request)) => {
                let (status, kind, body) = site.page(request.path)?;
                self.ends = !request.stays;
                let answer = http::answer(status, kind, &body, request.head_only, request.stays);
                (answer, request.length)
            }
            Err(refusal) => {
                self.ends = true;
                (refuse(refusal), self.received.len())
            }
        };
        self.received.drain(..length);
        (self.answer, self.sent) = (answer, 0);
        Ok(true)
    }
}

fn refuse(refusal: Refusal) -> Vec<u8> {
    let status = refusal.status();
    http::answer(
        status,
        "text/plain",
        rt::alloc::format!("{status}\n").as_bytes(),
        false,
        false,
    )
}

fn setting<T: FromStr>(key: &str, default: T) -> Result<T, Errno> {
    let Some(text) = rt::var(key) else { return Ok(default) };
    text.parse().map_err(|_| {
        rt::println!("{key}={text}: expected another value");
        Errno::EINVAL
    })
}

fn main() -> Result<(), Errno> {
    let port: u16 = setting("PORT", 80)?;
    let mut site = Site::open()?;
    let mut network = Network::from_environment().map_err(|problem| match problem {
        Problem::Port(errno) => errno,
        Problem::Address => {
            rt::println!("ADDRESS: expected an address and the length of its network, such as 10.0.2.15/24");
            Errno::EINVAL
        }
        Problem::Gateway => {
            rt::println!("GATEWAY: expected an address, such as 10.0.2.2");
            Errno::EINVAL
        }
    })?;
    let mut connections: Vec<Connection> = (0..CONNECTIONS)
        .map(|_| Connection {
            handle: network.add_tcp(RECEIVE_WINDOW, SEND_WINDOW),
            received: Vec::new(),
            answer: Vec::new(),
            sent: 0,
            ends: false,
        })
        .collect();
    let files = site.files.len();
    let visits = site
        .visits
        .as_ref()
        .map_or(String::from("uncounted"), |(_, visits)| rt::alloc::format!("{visits}"));
    let mut said = false;
    loop {
        for connection in &mut connections {
            connection.serve(network.tcp(connection.handle), &mut site, port)?;
        }
        if !said {
            // Now they listen.
            rt::println!("{files} files, {visits} visits, listening on port {port}");
            said = true;
        }
        // Wait only when nothing has come meanwhile, for a connection that was served already perhaps.
        if !network.poll() {
            network.wait(None)?;
            network.poll();
        }
    }
}
