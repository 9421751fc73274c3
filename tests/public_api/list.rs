//! Lists what rustdoc's JSON, whose path is the argument, says is public: one item or
//! `impl` a line, auto traits included.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let json = std::env::args_os().nth(1).ok_or("which file?")?;
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .build()?;
    print!("{api}");
    Ok(())
}
