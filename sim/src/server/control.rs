//! The control endpoint: what a [`Sim`] can do in process, for programs in any language.
//!
//! ```text
//! GET    /health                       {"status":"ok"}: for anyone, always
//! GET    /_sim                         this list
//! GET    /_sim/rules                   all rules in force, with their hits
//! POST   /_sim/rules                   adds a rule, answers it with its id
//! GET    /_sim/rules/ID                one rule
//! DELETE /_sim/rules/ID                removes it
//! DELETE /_sim/rules                   removes all
//! GET    /_sim/trace                   one line per call
//! GET    /_sim/streams                 all streams
//! GET    /_sim/streams/NAME/records    the truth: ?shard=ID&after=SEQUENCE_NUMBER&limit=N&account=A&region=R
//! POST   /_sim/reset                   forgets streams, rules and the trace
//! ```
//!
//! Errors are `{"error": "..."}` with a status of 400, 403, 404 or 405. Pages of other origins are refused: a browser
//! on this machine counts as local.

mod rule_form;

mod truth;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use self::rule_form::RuleForm;
use crate::sim::Sim;
use crate::subscription::body::ReplyBody;

const HEALTH: &str = "/health";

const ROOT: &str = "/_sim";

const INDEX: &str = include_str!("control/index.txt");

/// Whether a request is for this endpoint rather than for the service, which takes any path.
pub(super) fn is_meant(path: &str, is_admitted: bool) -> bool {
    let under_root = || path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    path == HEALTH || (is_admitted && under_root())
}

/// A status and what is answered with it.
type Outcome = Result<(StatusCode, Value), (StatusCode, String)>;

pub(super) fn answer(sim: &Sim, parts: &Parts, body: &[u8]) -> Response<ReplyBody> {
    if parts.uri.path() == ROOT {
        return respond(StatusCode::OK, "text/plain; charset=utf-8", INDEX.as_bytes().to_vec());
    }
    let (status, body) = match route(sim, parts, body) {
        Ok(answer) => answer,
        Err((status, text)) => (status, json!({ "error": text })),
    };
    respond(status, "application/json", body.to_string().into_bytes())
}

fn respond(status: StatusCode, media_type: &'static str, body: Vec<u8>) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::from(bytes::Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn route(sim: &Sim, parts: &Parts, body: &[u8]) -> Outcome {
    let path = parts.uri.path();
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if path != HEALTH {
        check_origin(parts)?;
    }
    let query = parts.uri.query().unwrap_or_default();
    match (&parts.method, segments.as_slice()) {
        (&Method::GET | &Method::HEAD, ["health"]) => {
            Ok((StatusCode::OK, json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })))
        }
        (&Method::GET, ["_sim", "rules"]) => Ok((StatusCode::OK, rules(sim))),
        (&Method::POST, ["_sim", "rules"]) => add_rule(sim, body),
        (&Method::DELETE, ["_sim", "rules"]) => {
            sim.door.with(|engine, _| engine.rules.clear());
            Ok((StatusCode::OK, rules(sim)))
        }
        (&Method::GET, ["_sim", "rules", id]) => rule(sim, id),
        (&Method::DELETE, ["_sim", "rules", id]) => remove_rule(sim, id),
        (&Method::GET, ["_sim", "trace"]) => Ok((StatusCode::OK, json!({ "lines": sim.trace() }))),
        (&Method::GET, ["_sim", "streams"]) => Ok((StatusCode::OK, truth::streams(sim))),
        (&Method::GET, ["_sim", "streams", name, "records"]) => {
            truth::records(sim, name, query).map(|records| (StatusCode::OK, records))
        }
        (&Method::POST, ["_sim", "reset"]) => {
            sim.reset();
            Ok((StatusCode::OK, json!({})))
        }
        (
            _,
            ["health"]
            | ["_sim", "rules" | "trace" | "streams" | "reset"]
            | ["_sim", "rules", _]
            | ["_sim", "streams", _, "records"],
        ) => {
            let text = format!("{path} does not take {}: see GET {ROOT}", parts.method);
            Err((StatusCode::METHOD_NOT_ALLOWED, text))
        }
        _ => Err((StatusCode::NOT_FOUND, format!("there is no {path}: see GET {ROOT}"))),
    }
}

/// A page in a browser may send simple requests anywhere; it cannot hide where it came from.
fn check_origin(parts: &Parts) -> Result<(), (StatusCode, String)> {
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = parts.headers.get(header::ORIGIN) else { return Ok(()) };
    let own = text(header::HOST).or_else(|| parts.uri.authority().map(http::uri::Authority::as_str));
    let host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    if own.is_some() && host == own {
        return Ok(());
    }
    Err((StatusCode::FORBIDDEN, "pages of other origins may not use this endpoint".to_owned()))
}

fn rules(sim: &Sim) -> Value {
    sim.door.with(|engine, _| {
        let rules: Vec<_> = engine
            .rules
            .iter()
            .map(|(number, rule, hits)| RuleForm::of(rule).with_place(number, hits))
            .collect();
        json!({ "rules": rules })
    })
}

fn add_rule(sim: &Sim, body: &[u8]) -> Outcome {
    let form: RuleForm = serde_json::from_slice(body)
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("this is no rule: {error}; see GET {ROOT}")))?;
    let added = sim.door.with(|engine, now| {
        let elapsed = std::time::Duration::from_millis(now.saturating_sub(engine.settings.started_at));
        let rule = form.into_rule(elapsed)?;
        let form = RuleForm::of(&rule);
        let (number, _) = engine.add_rule(rule);
        Ok(form.with_place(number, 0))
    });
    added.map(|form| (StatusCode::CREATED, json!(form))).map_err(|text| (StatusCode::BAD_REQUEST, text))
}

fn no_rule(id: &str) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("there is no rule {id}: see GET {ROOT}/rules"))
}

fn rule(sim: &Sim, id: &str) -> Outcome {
    sim.door.with(|engine, _| {
        let found = engine.rules.iter().find(|(number, ..)| number.to_string() == id);
        let (number, rule, hits) = found.ok_or_else(|| no_rule(id))?;
        Ok((StatusCode::OK, json!(RuleForm::of(rule).with_place(number, hits))))
    })
}

fn remove_rule(sim: &Sim, id: &str) -> Outcome {
    let answer = rule(sim, id)?;
    let number = id.parse().map_err(|_| no_rule(id))?;
    sim.door.with(|engine, _| engine.remove_rule(number));
    Ok(answer)
}
