//! A web server of the standard library alone: a thread for each connection, which counts what all of them have served.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

/// What the threads share.
struct Site {
    started: Instant,
    served: AtomicU64,
    last: Mutex<Option<String>>,
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:80".to_owned());
    let listener = TcpListener::bind(&address)?;
    let site = Arc::new(Site {
        started: Instant::now(),
        served: AtomicU64::new(0),
        last: Mutex::new(None),
    });
    println!("rust-http: listens on {address}");
    for connection in listener.incoming() {
        let (connection, site) = (connection?, Arc::clone(&site));
        let work = move || {
            if let Err(error) = serve(&connection, &site) {
                println!("rust-http: {error}");
            }
        };
        // Without a thread the connection is closed.
        if let Err(error) = thread::Builder::new().spawn(work) {
            println!("rust-http: no thread: {error}");
        }
    }
    Ok(())
}

/// Answers requests until there are no more.
fn serve(mut connection: &TcpStream, site: &Site) -> io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    while let Some(request) = lines.next().transpose()? {
        let mut close = false;
        for line in lines.by_ref() {
            let line = line?;
            close |= line.eq_ignore_ascii_case("connection: close");
            if line.is_empty() {
                break;
            }
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let before = site.last.lock().expect("nobody panics").replace(path.to_owned());
        let (status, text) = match (method, path) {
            ("GET", "/") => {
                let count = site.served.fetch_add(1, Ordering::Relaxed) + 1;
                let seconds = site.started.elapsed().as_secs_f64();
                ("200 OK", format!("request {count}, after {}, {seconds:.3} s", before.as_deref().unwrap_or("none")))
            }
            // Floating-point numbers in a thread of their own: so many terms of pi.
            ("GET", path) if path.starts_with("/pi/") => {
                let terms = path[4..].parse::<u32>().unwrap_or_default();
                let sum = thread::Builder::new().spawn(move || (0..terms).map(term).sum::<f64>())?;
                let pi = sum.join().map_or(f64::NAN, |sum| 4.0 * sum);
                ("200 OK", format!("{pi:.6}"))
            }
            ("GET", _) => ("404 Not Found", format!("{path} is not here")),
            _ => ("405 Method Not Allowed", "expected GET".to_owned()),
        };
        write!(
            connection,
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}\n",
            text.len() + 1
        )?;
        if close {
            break;
        }
    }
    Ok(())
}

/// One of Leibniz' series.
fn term(n: u32) -> f64 {
    let sign = if n % 2 == 0 { 1.0 } else { -1.0 };
    sign / (2.0 * f64::from(n) + 1.0)
}
