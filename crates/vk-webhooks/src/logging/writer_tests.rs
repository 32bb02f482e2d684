use std::sync::mpsc;

use super::*;

/// A sink whose every write is answered by the test: how many bytes it takes, or why none.
struct Scripted {
    answers: mpsc::Receiver<io::Result<usize>>,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A test that is over answers nothing more: blocked for ever.
        let Ok(answer) = self.answers.recv() else {
            loop {
                std::thread::park();
            }
        };
        let taken = answer?.min(bytes.len());
        self.taken.lock().unwrap().extend(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Taken = Arc<Mutex<Vec<u8>>>;

fn scripted() -> (LogWriter, mpsc::Sender<io::Result<usize>>, Taken) {
    let (answer, answers) = mpsc::channel();
    let taken = Taken::default();
    let sink = Scripted {
        answers,
        taken: Arc::clone(&taken),
    };
    let report = |dropped| format!("{dropped} dropped\n").into_bytes();
    (LogWriter::start(sink, report).unwrap(), answer, taken)
}

fn text(taken: &Taken) -> String {
    String::from_utf8(taken.lock().unwrap().clone()).unwrap()
}

const ALL: usize = usize::MAX;
const LONG: Duration = Duration::from_secs(20);

fn refused(kind: io::ErrorKind) -> io::Result<usize> {
    Err(kind.into())
}

#[test]
fn lines_are_written_in_order_whatever_pieces_they_go_in() {
    let (log, answer, taken) = scripted();
    for step in [
        Ok(3),
        refused(io::ErrorKind::Interrupted),
        Ok(ALL),
        refused(io::ErrorKind::WouldBlock),
        Ok(ALL),
    ] {
        answer.send(step).unwrap();
    }
    log.line(b"first\n");
    log.line(b"second\n");
    log.flush(LONG);
    assert_eq!(text(&taken), "first\nsecond\n");
    assert_eq!(log.dropped(), 0);
}

#[test]
fn what_cannot_be_written_is_dropped_counted_and_told_once_it_can_be() {
    for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull] {
        let (log, answer, taken) = scripted();
        // The second line is cut off; the third gets nothing, not even the end of the second.
        for step in [Ok(ALL), Ok(4), refused(kind), refused(kind)] {
            answer.send(step).unwrap();
        }
        for line in ["first\n", "second\n", "third\n"] {
            log.line(line.as_bytes());
        }
        log.flush(LONG);
        assert_eq!(log.dropped(), 2);
        for _ in 0..3 {
            answer.send(Ok(ALL)).unwrap();
        }
        log.line(b"fourth\n");
        log.flush(LONG);
        // Whichever comes first, the line or the report of what was dropped.
        let told = || {
            let text = text(&taken);
            let rest = text.strip_prefix("first\nseco\n");
            rest.is_some_and(|rest| ["fourth\n2 dropped\n", "2 dropped\nfourth\n"].contains(&rest))
        };
        let begun = Instant::now();
        while !told() && begun.elapsed() < LONG {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(told(), "{:?}", text(&taken));
        assert_eq!(log.dropped(), 2);
    }
}

#[test]
fn it_is_told_also_where_nothing_more_is_logged() {
    let (log, answer, taken) = scripted();
    answer.send(refused(io::ErrorKind::StorageFull)).unwrap();
    answer.send(refused(io::ErrorKind::StorageFull)).unwrap();
    log.line(b"lost\n");
    answer.send(Ok(ALL)).unwrap();
    let begun = Instant::now();
    while text(&taken) != "1 dropped\n" {
        assert!(begun.elapsed() < LONG, "{:?}", text(&taken));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_sink_that_blocks_holds_up_nobody_and_memory_stays_bounded() {
    let (log, answer, taken) = scripted();
    let begun = Instant::now();
    for number in 0..3 * MOST_LINES {
        log.line(format!("{number}\n").as_bytes());
    }
    // One is in the thread's hand.
    let most = 2 * MOST_LINES as u64;
    assert!((most - 1..=most).contains(&log.dropped()));
    log.line(&vec![b'x'; 2 * MOST_BYTES]);
    log.flush(Duration::from_millis(50));
    assert!(begun.elapsed() < LONG);
    let queue = log.0.locked();
    assert!(queue.entries.len() <= MOST_LINES && queue.bytes <= MOST_BYTES);
    drop(queue);
    for _ in 0..2 * MOST_LINES {
        answer.send(Ok(ALL)).unwrap();
    }
    log.flush(LONG);
    assert!(text(&taken).starts_with("0\n"), "the oldest are kept");
}

#[test]
fn a_text_that_has_to_be_seen_is_answered_for() {
    let (log, answer, taken) = scripted();
    let shown = log.show("the key\n");
    answer.send(Ok(ALL)).unwrap();
    assert!(shown.blocking_recv().unwrap().is_ok());
    assert_eq!(text(&taken), "the key\n");
    let refused_text = log.show("another\n");
    answer.send(refused(io::ErrorKind::BrokenPipe)).unwrap();
    let error = refused_text.blocking_recv().unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    let mut blocked = log.show("a third\n");
    assert!(blocked.try_recv().is_err(), "nobody knows yet");
}
