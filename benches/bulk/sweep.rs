//! Every chunk with every buffer, for one frame size.

use std::io;

use crate::contender::take_turn_by_hand;
use crate::exchange::Exchange;
use crate::hand_written::Tuning;
use crate::table::Spread;
use crate::transport::Transport;

/// Runs all rounds, and prints a table in Markdown: the median of the ratios to
/// the library's own choice within a round.
pub(crate) fn run(
    rounds: u32,
    size: usize,
    frames: usize,
    transport: &Transport,
) -> io::Result<()> {
    let tuning = |chunk, buffer| Tuning {
        chunk,
        buffer,
        whole: 0,
    };
    let library = Tuning::of_the_library(transport);
    let chosen = tuning(library.chunk, library.buffer);
    let grid: Vec<Tuning> = BUFFERS
        .iter()
        .flat_map(|&buffer| CHUNKS.iter().map(move |&chunk| tuning(chunk, buffer)))
        .collect();
    let mut exchange = Exchange::new(size);
    let mut rates: Vec<Vec<f64>> = grid.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for (&tuning, rates) in grid.iter().zip(&mut rates) {
            let turn = take_turn_by_hand(tuning, transport, &mut exchange, frames)?;
            if round > 0 {
                rates.push(turn.figures.rate);
            }
        }
    }

    let reference = grid.iter().position(|&tuning| tuning == chosen);
    let reference = rates[reference.expect("the choice is in the grid")].clone();
    println!("\n{size} bytes, {frames} frames a turn, {rounds} rounds\n");
    print!("| buffer |");
    CHUNKS
        .iter()
        .for_each(|&chunk| print!(" {} |", name(chunk, "whole")));
    println!("\n|---|{}", "---|".repeat(CHUNKS.len()));
    for (row, &buffer) in rates.chunks(CHUNKS.len()).zip(&BUFFERS) {
        print!("| {} |", name(buffer, "kernel's"));
        for (rates, &chunk) in row.iter().zip(&CHUNKS) {
            let ratios = rates
                .iter()
                .zip(&reference)
                .map(|(rate, chosen)| rate / chosen);
            let mark = match tuning(chunk, buffer) == chosen {
                true => "**",
                false => "",
            };
            print!(" {mark}{:.2}{mark} |", Spread::of(ratios).median);
        }
        println!();
    }
    Ok(())
}

fn name(bytes: Option<usize>, none: &str) -> String {
    match bytes {
        None => none.to_owned(),
        Some(bytes) if bytes < MEBIBYTE => format!("{} KiB", bytes / 1024),
        Some(bytes) => format!("{} MiB", bytes / MEBIBYTE),
    }
}

const MEBIBYTE: usize = 1024 * 1024;

/// Cut to whole segments: 1, 2, 4, 8, 16 and 32 on loopback.
const CHUNKS: [Option<usize>; 7] = [
    Some(64 * 1024),
    Some(128 * 1024),
    Some(256 * 1024),
    Some(512 * 1024),
    Some(MEBIBYTE),
    Some(2 * MEBIBYTE),
    None,
];

const BUFFERS: [Option<usize>; 5] = [
    None,
    Some(512 * 1024),
    Some(MEBIBYTE),
    Some(2 * MEBIBYTE),
    Some(4 * MEBIBYTE),
];
