//! The binary `anabranch`; everything is in the library beside it, so that tests can reach it.

fn main() -> std::process::ExitCode {
    anabranch::main(std::env::args_os())
}
