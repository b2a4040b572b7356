//! One process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::TARN;

/// Lines of a log that a failed test shows.
const TAIL: usize = 40;

/// One `tarn` process. Ends with its owner.
pub struct Node {
    name: String,
    arguments: Vec<String>,
    http: String,
    flight: Option<String>,
    log: PathBuf,
    process: Option<Child>,
}

impl Node {
    /// A process that has not started.
    pub fn new(folder: &Path, name: &str, arguments: Vec<String>, http: String, flight: Option<String>) -> Self {
        let log = folder.join(format!("{name}.log"));
        Self { name: name.to_owned(), arguments, http, flight, log, process: None }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it speaks Flight SQL.
    pub fn flight(&self) -> Option<&str> {
        self.flight.as_deref()
    }

    /// Starts it.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log");
        let mut command = Command::new(TARN);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TARN_")) {
            command.env_remove(name);
        }
        let process = command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        self.process = Some(process);
    }

    /// Whether `/readyz` says so.
    pub fn is_ready(&mut self) -> bool {
        if let Some(status) = self.process.as_mut().and_then(|p| p.try_wait().expect("a process")) {
            panic!("{} ended with {status}", self.name);
        }
        self.get("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// The answer to an HTTP request.
    pub fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.http).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// SIGTERM, and waits for the graceful end.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("it runs");
        let killed = Command::new("kill").arg(process.id().to_string()).status().expect("kill runs");
        assert!(killed.success());
        process.wait().expect("it ends")
    }

    fn tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().ok();
            process.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("---- {}\n{}", self.name, self.tail());
        }
    }
}
