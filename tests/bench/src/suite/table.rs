//! The one table.

use crate::claims::Judged;
use crate::forced::Share;

pub(crate) fn print(claims: &[Judged], forced: &[Share], skipped: &[String]) {
    println!("\n| what | ours | beside it | ratio | target | met |\n| --- | --- | --- | --- | --- | --- |");
    let number = |value: Option<f64>| value.map_or_else(String::new, shown);
    for Judged { what, ours, beside, ratio, target, met } in claims {
        let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let met = met.map_or("", |met| if met { "yes" } else { "NO" });
        println!("| {what} | {} | {} | {ratio} | {target} | {met} |", shown(*ours), number(*beside));
    }
    if !forced.is_empty() {
        println!(
            "\n| a record | ns | forced on everyone, ns | share | of it |\n| --- | --- | --- | --- | --- |"
        );
    }
    for share in forced {
        let parts: Vec<_> = share.parts.iter().map(|(name, nanos)| format!("{name} {nanos:.1}")).collect();
        let (takes, forced) = (share.takes, share.forced());
        println!(
            "| {} | {takes:.0} | {forced:.0} | {:.0} % | {} |",
            share.what,
            forced / takes * 100.0,
            parts.join(", ")
        );
    }
    for line in skipped {
        println!("skip: {line}");
    }
    let missed = claims.iter().filter(|claim| claim.met == Some(false)).count();
    let held = claims.iter().filter(|claim| claim.met == Some(true)).count();
    println!("\n{held} targets met, {missed} missed, {} things skipped", skipped.len());
}

fn shown(value: f64) -> String {
    let decimals = match value.abs() {
        0.0..1.0 => 4,
        1.0..100.0 => 2,
        100.0..10_000.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}
