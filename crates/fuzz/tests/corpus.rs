//! Every input that is kept, to its target again, and thousands of others that are like them.

use std::path::{Path, PathBuf};

use vk_fuzz::{TARGETS, Target, find};
use vk_tests::Random;

/// How many mutations of the corpus each target is given; a sixtieth where each takes a store of its own.
const MUTATIONS: u64 = 3000;
/// How long they are at most, in bytes; the same as for libFuzzer.
const LONGEST: usize = 4096;
/// Where the mutations come from.
const SEED: u64 = 0xF0_2026;

fn folder(target: &Target) -> PathBuf {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    corpus.join(target.name)
}

/// The kept inputs of a target with their names, in an order that is always the same.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = folder(target);
    let files =
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<_> = files
        .map(|file| {
            let path = file.expect("a folder can be read").path();
            let name = path
                .file_name()
                .expect("a file has a name")
                .to_string_lossy()
                .into_owned();
            (name, std::fs::read(&path).expect("a file can be read"))
        })
        .collect();
    inputs.sort();
    inputs
}

/// Runs a target, and names the input where it panics.
fn run(target: &Target, what: &str, input: &[u8]) {
    let done = std::panic::catch_unwind(|| (target.run)(input));
    if done.is_err() {
        let found = std::env::temp_dir().join(format!("vk-fuzz-found-{}", target.name));
        std::fs::write(&found, input).expect("a file can be written");
        panic!(
            "{}: {what} breaks a rule; it is kept as {}",
            target.name,
            found.display()
        );
    }
}

/// One of the inputs with a few changes, or two of them in one.
fn mutation(random: &mut Random, inputs: &[(String, Vec<u8>)]) -> Vec<u8> {
    let any = |random: &mut Random| inputs[random.below(inputs.len())].1.clone();
    let mut input = any(random);
    for _ in 0..=random.below(4) {
        let place = random.below(input.len() + 1);
        match random.below(6) {
            0 if place < input.len() => input[place] = random.any() as u8,
            1 if place < input.len() => input[place] ^= 1 << random.below(8),
            2 => input.insert(place, random.any() as u8),
            3 if place < input.len() => {
                let end = (place + 1 + random.below(8)).min(input.len());
                input.drain(place..end);
            }
            4 => {
                let other = any(random);
                let from = random.below(other.len() + 1);
                input.truncate(place);
                input.extend_from_slice(&other[from..]);
            }
            5 => {
                let end = (place + random.below(32)).min(input.len());
                let again = input[place..end].to_vec();
                input.splice(place..place, again);
            }
            _ => {}
        }
    }
    input.truncate(LONGEST);
    input
}

fn replay(name: &str) {
    let target = find(name).expect("it is in the table");
    let inputs = corpus(target);
    assert!(inputs.len() >= 5, "{name}: the corpus is not there");
    (target.run)(b"");
    for (file, input) in &inputs {
        run(target, file, input);
    }
    let times: u64 = std::env::var("VK_FUZZ_MUTATIONS").map_or(MUTATIONS, |text| {
        text.parse().expect("VK_FUZZ_MUTATIONS is a number")
    });
    let times = if name == "store" { times / 60 } else { times };
    let mut random = Random::new(SEED);
    for number in 0..times {
        let input = mutation(&mut random, &inputs);
        run(target, &format!("mutation {number}"), &input);
    }
}

macro_rules! replayed {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed_and_every_corpus_has_a_target() {
            let replayed = [$(stringify!($name)),*];
            let targets: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(targets, replayed);
            let folder = folder(&TARGETS[0]);
            for entry in std::fs::read_dir(folder.parent().unwrap()).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(find(&name).is_some(), "a corpus of no target: {name}");
            }
        }
    };
}

replayed!(receiver_url address response signature publish cursor session store);

#[test]
fn the_corpus_is_small() {
    let mut size = 0;
    for target in TARGETS {
        let inputs = corpus(target);
        assert!(
            inputs.len() <= 400,
            "{}: {} files",
            target.name,
            inputs.len()
        );
        size += inputs.iter().map(|(_, input)| input.len()).sum::<usize>();
    }
    assert!(size < 1 << 20, "{size} bytes");
}
