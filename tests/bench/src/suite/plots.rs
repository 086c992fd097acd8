//! Growth curves as SVG.

use std::collections::BTreeMap;
use std::path::Path;

use plotters::coord::combinators::{IntoLogRange, LogCoord};
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, DashedLineSeries, IntoDrawingArea, LineSeries, PathElement, RGBColor,
    SVGBackend, SeriesLabelPosition, WHITE,
};
use plotters::style::{Color, IntoFont};

use crate::forced;
use crate::measured::Figures;

/// Name, title, what x is, what y is.
type Plot = (&'static str, &'static str, &'static str, &'static str);

const PLOTS: &[Plot] = &[
    ("predict", "Finding the shard of a key", "shards", "ns a key"),
    ("producer-shards", "Producer over shards, 100-byte records", "shards", "CPU ns a record"),
    ("producer-size", "Producer over record size, 64 shards, signed", "bytes of data", "CPU ns a record"),
    ("producer-records", "Producer over records put so far", "records", "CPU ns a record"),
    (
        "producer-outstanding",
        "Producer: memory of an unanswered record",
        "records outstanding",
        "bytes a record",
    ),
    ("memory-records", "Memory over records that went through", "records", "MiB"),
    ("consumer-shards", "Consumer over shards, everything included", "shards", "CPU ns a record"),
    ("consumer-size", "Consumer over record size, 1 shard", "bytes of data", "CPU ns a record"),
    ("consumer-records", "Consumer over records in the shard", "records", "CPU ns a record"),
    ("consumer-memory", "Consumer: memory of a leased idle shard", "shards of the worker", "bytes a shard"),
    ("planning-leases", "One scan of the lease table", "leases", "ms"),
    ("planning-workers", "One scan of 1,000 leases over workers", "workers", "ms"),
    ("fleet", "Calls to the lease table, 4 shards a worker", "workers", "a worker and minute"),
    ("engine-size", "Engine below HTTP: PutRecords over record size", "bytes of data", "CPU ns a record"),
    ("engine-records", "Engine below HTTP: PutRecords over records stored", "records", "CPU ns a record"),
    ("engine-shards", "Engine below HTTP: PutRecords over shards", "shards", "CPU ns a record"),
    ("engine-shard-memory", "Engine: memory of an empty shard", "shards", "bytes a shard"),
    ("engine-record-memory", "Engine: memory of a stored record", "bytes of data", "bytes a record"),
    ("engine-records-memory", "Engine: memory of a stored record of 100 bytes", "records", "bytes a record"),
];

/// Plot, its line, where on x, and the figure of a peer in the same run: times this, it is in the plot's unit.
const PEERS: &[(&str, &str, f64, &str, f64)] = &[
    ("producer-shards", "ours end to end", 32.0, "producers/kpl-http: CPU us a record", 1e3),
    ("producer-shards", "SDK loop end to end", 32.0, "producers/sdk-http: CPU us a record", 1e3),
    ("producer-shards", "Java KPL end to end", 32.0, "producers/java-kpl-tls: CPU us a record", 1e3),
    ("producer-shards", "aiokpl end to end", 32.0, "producers/aiokpl-http: CPU us a record", 1e3),
    ("engine-size", "ours, server", 100.0, "server/kinesis-sim: PutRecords, us of server CPU a record", 1e3),
    (
        "engine-size",
        "ferrokinesis, server",
        100.0,
        "server/ferrokinesis: PutRecords, us of server CPU a record",
        1e3,
    ),
    (
        "engine-size",
        "kinesalite, server",
        100.0,
        "server/kinesalite: PutRecords, us of server CPU a record",
        1e3,
    ),
    (
        "engine-records-memory",
        "ferrokinesis, server",
        1e6,
        "server/ferrokinesis: memory, bytes a record",
        1.0,
    ),
];

/// What Java's worker does by its own intervals: `leases` says it beside each row.
const JAVAS: &[(&str, &str)] = &[("writes", "Java's writes"), ("listings", "Java's listings")];

const COLOURS: [RGBColor; 8] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(23, 190, 207),
    RGBColor(140, 86, 75),
    RGBColor(127, 127, 127),
];

struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    /// Not ours: a limit or a peer.
    is_other: bool,
}

/// Draws every plot that has a point; says how many.
pub(crate) fn draw(figures: &Figures, folder: &Path) -> usize {
    std::fs::create_dir_all(folder).unwrap();
    let mut drawn = 0;
    for plot in PLOTS {
        let lines = lines_of(figures, plot.0);
        if lines.iter().any(|line| !line.is_other) {
            let file = folder.join(format!("{}.svg", plot.0));
            draw_one(plot, &lines, &file);
            drawn += 1;
        }
    }
    drawn
}

fn lines_of(figures: &Figures, plot: &str) -> Vec<Line> {
    let mut ours: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    let mut others: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for row in &figures.rows {
        let Some(point) = row.point.as_ref().filter(|point| point.plot == plot) else { continue };
        ours.entry(&point.line).or_default().push((point.x, row.median));
        if let Some(floor) = forced::floor_of(figures, plot, point.x) {
            others.entry("forced by format and protocol".into()).or_default().push((point.x, floor));
        }
        let javas = JAVAS.iter().find(|(what, _)| plot == "fleet" && row.name.ends_with(what));
        if let (Some((_, name)), Some(value)) =
            (javas, row.also.get("Java's").and_then(serde_json::Value::as_f64))
        {
            others.entry((*name).to_owned()).or_default().push((point.x, value));
        }
    }
    for (of, line, x, figure, times) in PEERS {
        if let Some(value) = figures.value(figure).filter(|_| *of == plot) {
            others.entry((*line).to_owned()).or_default().push((*x, value * times));
        }
    }
    let line = |is_other| {
        move |(name, mut points): (String, Vec<(f64, f64)>)| {
            // A logarithm has no zero.
            points.retain(|(x, y)| *x > 0.0 && *y > 0.0);
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            points.dedup();
            Line { name, points, is_other }
        }
    };
    let ours = ours.into_iter().map(|(name, points)| (name.to_owned(), points)).map(line(false));
    ours.chain(others.into_iter().map(line(true))).filter(|line| !line.points.is_empty()).collect()
}

/// From the decade below to the decade above, and never less than one.
fn decades(values: impl Iterator<Item = f64> + Clone) -> LogCoord<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(f64::NEG_INFINITY, f64::max);
    let from = 10_f64.powf(least.log10().floor());
    let to = 10_f64.powf(most.log10().ceil());
    (from..if to > from { to } else { from * 10.0 }).log_scale().into()
}

fn draw_one((_, title, x, y): &Plot, lines: &[Line], file: &Path) {
    let area = SVGBackend::new(file, (760, 420)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let points = lines.iter().flat_map(|line| line.points.iter());
    let mut chart = ChartBuilder::on(&area)
        .caption(*title, ("sans-serif", 18).into_font())
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            decades(points.clone().map(|point| point.0)),
            decades(points.map(|point| point.1)),
        )
        .unwrap();
    chart
        .configure_mesh()
        .x_desc(*x)
        .y_desc(*y)
        .x_label_formatter(&|value| number(*value))
        .y_label_formatter(&|value| number(*value))
        .light_line_style(BLACK.mix(0.05))
        .bold_line_style(BLACK.mix(0.15))
        .max_light_lines(1)
        .draw()
        .unwrap();
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let (points, colour) = (line.points.clone(), *colour);
        let key = move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2));
        if line.is_other {
            let style = colour.stroke_width(2);
            chart
                .draw_series(DashedLineSeries::new(points.clone(), 6, 4, style))
                .unwrap()
                .label(&line.name)
                .legend(key);
        } else {
            let style = colour.stroke_width(2);
            chart.draw_series(LineSeries::new(points.clone(), style)).unwrap().label(&line.name).legend(key);
        }
        chart.draw_series(points.into_iter().map(|point| Circle::new(point, 3, colour.filled()))).unwrap();
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()
        .unwrap();
    area.present().unwrap();
}

/// As people write it on an axis.
fn number(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", value / 1e6),
        1e3.. => format!("{} k", value / 1e3),
        _ => format!("{value}"),
    }
}
