//! Every figure of this repository by one command: micro, macro, growth, physical limits, and peers in the same run.
//!
//! ```text
//! cargo run --release -p bench [-- PROGRAM...] [--cases WORD,WORD] [--quick] [--json FILE] [--plots DIR] [--keep FILE]
//! ```
//!
//! Builds the benchmarks of the crates and runs one after the other; then the scripts that install peers and run them beside ours.
//! Prints one table, writes all rows as JSON and every growth curve as SVG, into the target folder's `bench/` unless named.
//! Without a program's name it runs all: `codecs`, `producer`, `leases`, `consumer`, `engine`, and the peers `server`,
//! `producers`, `consumers`. `--cases` goes to the first five: only cases whose name contains one of the words. `--quick` is to
//! see that everything works; its figures mean little. `--keep` takes the rows of what is not run now from an earlier JSON.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measuring program prints, and stops at the first surprise"
)]

#[path = "suite/claims.rs"]
mod claims;
#[path = "suite/forced.rs"]
mod forced;
#[path = "suite/machine.rs"]
mod machine;
#[path = "suite/measured.rs"]
mod measured;
#[path = "suite/options.rs"]
mod options;
#[path = "suite/peers.rs"]
mod peers;
#[path = "suite/plots.rs"]
mod plots;
#[path = "suite/programs.rs"]
mod programs;
#[path = "suite/table.rs"]
mod table;

use serde_json::json;

use measured::Figures;
use options::Options;

fn main() {
    let options = Options::from_arguments();
    std::fs::create_dir_all(&options.folder).unwrap();
    let machine = machine::describe();
    println!("{machine}");
    let mut figures = Figures::default();
    programs::run(&options, &mut figures);
    peers::run(&options, &mut figures);
    if let Some(file) = &options.keep {
        figures.keep(file, |program| options.wants(program));
    }

    let claims = claims::judge(&figures);
    let forced = forced::shares(&figures);
    table::print(&claims, &forced, &figures.skipped);
    let all = json!({
        "machine": machine,
        "load_at_the_end": machine::load(),
        "settings": options.settings(),
        "claims": claims.iter().map(claims::Judged::json).collect::<Vec<_>>(),
        "forced": forced.iter().map(forced::Share::json).collect::<Vec<_>>(),
        "rows": figures.rows.iter().map(measured::Measured::json).collect::<Vec<_>>(),
        "skipped": figures.skipped,
    });
    std::fs::write(&options.json, format!("{all:#}\n")).unwrap();
    let drawn = plots::draw(&figures, &options.plots);
    println!("\nwritten to {}, {drawn} plots to {}", options.json.display(), options.plots.display());
}
