//! What fuzzing drives: each takes any bytes, and must neither panic nor grow without bound. Not part of the API.

use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use bytes::{Bytes, BytesMut};
use http::Request;
use http::request::Parts;
use http_body::Body;
use kinesis_shard::Clock;

use crate::door::{Door, SimClock};
use crate::engine::{Engine, EngineSettings};
use crate::event_stream;
use crate::quota::Limits;
use crate::subscription::body::ReplyBody;
use crate::wire::{Encoding, read};

/// Takes the bytes as the body of a JSON request; says whether it could be read.
pub fn json(bytes: &[u8]) -> bool {
    read(Encoding::Json, &Bytes::copy_from_slice(bytes)).is_some()
}

/// Takes the bytes as the body of a CBOR request; says whether it could be read.
pub fn cbor(bytes: &[u8]) -> bool {
    read(Encoding::Cbor, &Bytes::copy_from_slice(bytes)).is_some()
}

/// Takes the bytes as frames of an event stream, and says whether one could be read. As the payload of an event of ours
/// they come back, and with any one byte of the frame changed nothing does.
///
/// # Panics
/// If they do not.
pub fn event_stream(bytes: &[u8]) -> bool {
    let decode = |bytes: &[u8]| {
        let (mut decoder, mut buffer) = (MessageFrameDecoder::new(), BytesMut::from(bytes));
        match decoder.decode_frame(&mut buffer) {
            Ok(DecodedFrame::Complete(message)) => Some(message),
            Ok(DecodedFrame::Incomplete) | Err(_) => None,
        }
    };
    let frame = event_stream::event("SubscribeToShardEvent", bytes.to_vec());
    let message = decode(&frame).expect("a frame of ours is whole");
    assert_eq!(message.payload(), bytes, "a payload comes back as it was");
    if let [high, low, change, ..] = *bytes {
        let at = usize::from(u16::from_be_bytes([high, low])) % frame.len();
        let mut changed = frame.to_vec();
        if let Some(byte) = changed.get_mut(at) {
            *byte ^= change.max(1);
        }
        assert!(decode(&changed).is_none(), "byte {at} of {} is checked", frame.len());
    }
    decode(bytes).is_some()
}

/// Takes the bytes as requests to an engine with one stream, and says with which statuses they were answered.
///
/// ```text
/// POST /path?query            each request: the method and path, headers, an empty line, the body,
/// name: value                 separated by a line `====`
///
/// {"StreamName":"orders"}
/// ```
pub fn router(bytes: &[u8]) -> Vec<u16> {
    let settings =
        EngineSettings { limits: Limits::Off, state_delay: Duration::ZERO, ..EngineSettings::default() };
    let clock = SimClock::Virtual { clock: Clock::default(), base: OnceLock::new() };
    let sim =
        crate::Sim { door: std::sync::Arc::new(Door::new(Engine::new(settings), clock, Duration::ZERO)) };
    sim.create_stream("orders", 2);
    split(bytes, b"\n====\n").into_iter().take(20).filter_map(|bytes| status(&sim, bytes)).collect()
}

fn status(sim: &crate::Sim, bytes: &[u8]) -> Option<u16> {
    let (parts, body) = parse(bytes)?;
    let exchange = pin!(sim.door.exchange(&parts, Bytes::copy_from_slice(body), None));
    let mut context = Context::from_waker(Waker::noop());
    // No rule is in force, so nothing waits.
    let Poll::Ready(Ok(response)) = exchange.poll(&mut context) else { return None };
    let (head, body) = response.into_parts();
    let mut body = pin!(body);
    if let ReplyBody::Whole(_) = *body {
        while let Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(&mut context) {}
    }
    Some(head.status.as_u16())
}

fn parse(bytes: &[u8]) -> Option<(Parts, &[u8])> {
    let (head, body) = split_once(bytes, b"\n\n").unwrap_or((bytes, b""));
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let (method, uri) = split_once(first, b" ")?;
    let mut request = Request::builder().method(method).uri(uri);
    for line in lines {
        let (name, value) = split_once(line, b": ")?;
        request = request.header(name, value);
    }
    Some((request.body(()).ok()?.into_parts().0, body))
}

fn split_once<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(separator.len()).position(|window| window == separator)?;
    Some((bytes.get(..at)?, bytes.get(at + separator.len()..)?))
}

fn split<'a>(mut bytes: &'a [u8], separator: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some((part, rest)) = split_once(bytes, separator) {
        parts.push(part);
        bytes = rest;
    }
    parts.push(bytes);
    parts
}
