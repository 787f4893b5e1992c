//! The locks with the threads of the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Condvar, Mutex, OnceLock, RecvTimeoutError, SendError, TryRecvError, TrySendError, channel};

#[test]
fn a_mutex_lets_one_thread_in_at_a_time() {
    let counter = Mutex::new(0_u32);
    let inside = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let mut counter = counter.lock();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    *counter += 1;
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(counter.into_inner(), 16_000);
}

#[test]
fn a_mutex_is_tried_without_waiting() {
    let mutex = Mutex::new('a');
    let guard = mutex.lock();
    assert!(mutex.try_lock().is_none());
    assert_eq!(format!("{mutex:?}"), "Mutex(locked)");
    drop(guard);
    assert_eq!(*mutex.try_lock().unwrap(), 'a');
    assert_eq!(format!("{mutex:?}"), "Mutex('a')");
}

#[test]
fn no_notice_between_unlocking_and_waiting_is_lost() {
    let (turn, changed) = (Mutex::new(0_u32), Condvar::new());
    thread::scope(|scope| {
        for own in 0..2 {
            let (turn, changed) = (&turn, &changed);
            scope.spawn(move || {
                for _ in 0..5000 {
                    let mut turn = changed.wait_while(turn.lock(), |turn| *turn % 2 != own);
                    *turn += 1;
                    drop(turn);
                    changed.notify_all();
                }
            });
        }
    });
    assert_eq!(turn.into_inner(), 10_000);
}

#[test]
fn a_wait_with_a_timeout_ends_without_a_notice() {
    let (mutex, never) = (Mutex::new(()), Condvar::new());
    let start = Instant::now();
    let guard = never.wait_timeout(mutex.lock(), Duration::from_millis(20));
    assert!(mutex.try_lock().is_none(), "the lock is held again");
    drop(guard);
    // Other tests may wake it early; it never waits on.
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn what_is_made_once_is_made_by_one_thread() {
    let (cell, made) = (OnceLock::new(), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let value = cell.get_or_init(|| {
                    thread::sleep(Duration::from_millis(5));
                    made.fetch_add(1, Ordering::SeqCst);
                    String::from("value")
                });
                assert_eq!(value, "value");
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
    assert_eq!(cell.set(String::new()), Err(String::new()));
    assert_eq!(OnceLock::<u32>::new().get(), None);
    let fresh = OnceLock::new();
    assert_eq!((fresh.set(1), fresh.get()), (Ok(()), Some(&1)));
}

#[test]
fn a_value_made_once_is_dropped_once() {
    let value = Arc::new(());
    let cell = OnceLock::new();
    cell.set(Arc::clone(&value)).unwrap();
    drop(cell);
    drop(OnceLock::<Arc<()>>::new());
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn a_channel_keeps_the_order_of_each_sender_and_loses_nothing() {
    let (sender, receiver) = channel(3);
    let received = thread::scope(|scope| {
        for number in 0..4_u32 {
            let sender = sender.clone();
            scope.spawn(move || (0..1000).for_each(|count| sender.send((number, count)).unwrap()));
        }
        drop(sender);
        receiver.iter().collect::<Vec<_>>()
    });
    assert_eq!(received.len(), 4000);
    for number in 0..4 {
        let of_one = received
            .iter()
            .filter(|(sender, _)| *sender == number)
            .map(|(_, count)| *count);
        assert!(of_one.eq(0..1000), "sender {number}");
    }
}

#[test]
fn a_channel_says_when_it_is_full_empty_or_has_only_one_end() {
    let (sender, receiver) = channel(1);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    let nothing = receiver.recv_timeout(Duration::from_millis(1));
    assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
    assert_eq!(sender.try_send(1), Ok(()));
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    assert_eq!(receiver.recv(), Some(1));
    drop(sender);
    assert_eq!(receiver.recv(), None);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(
        receiver.recv_timeout(Duration::ZERO),
        Err(RecvTimeoutError::Disconnected)
    );

    let (sender, receiver) = channel(0);
    let value = Arc::new(());
    sender.send(Arc::clone(&value)).unwrap();
    drop(receiver);
    assert_eq!(Arc::strong_count(&value), 1, "what nobody receives is dropped");
    assert_eq!(sender.send(Arc::clone(&value)), Err(SendError(value)));
}
