//! Opens sets and times the loader over them in turn: SIDE IMAGES ROUNDS FORMAT:PATH…, one thread. Needs `vssl-data` alone.
use std::sync::Arc;
use std::time::Instant;
use vssl_data::{
    DataConfig,
    bench::DataBench,
    dataset::{self, Format, Labels},
};
fn rss() -> String {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("VmRSS") || l.starts_with("VmHWM"))
        .map(|l| l.split_whitespace().skip(1).collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(" peak ")
}
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (size, images, rounds): (usize, usize, usize) =
        (args[0].parse().unwrap(), args[1].parse().unwrap(), args[2].parse().unwrap());
    let mut sets = Vec::new();
    for arg in &args[3..] {
        let (format, path) = arg.split_once(':').unwrap();
        let format = match format {
            "folder" => Format::Folder,
            "tar" => Format::Tar,
            "parquet" => Format::Parquet,
            _ => panic!(),
        };
        let config =
            DataConfig { format, path: path.into(), labels: Labels::Auto, ..Default::default() };
        let start = Instant::now();
        let set = dataset::open(&config, None).unwrap().train;
        println!(
            "{arg}: {} images opened in {:.3} s, rss {}",
            set.len(),
            start.elapsed().as_secs_f64(),
            rss()
        );
        sets.push((arg.clone(), set));
    }
    for _ in 0..rounds {
        for (name, set) in &sets {
            let bench = DataBench { size, images, blur: 0.0, threads: 1 };
            let speed = bench.run(&Arc::clone(set)).unwrap();
            println!("{name}: {:.1} images/s, rss {}", speed.images_per_s, rss());
        }
    }
}
