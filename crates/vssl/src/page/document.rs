//! Puts the files of `assets/` and the data of a page into one HTML file.

use serde::Serialize;

use super::{RunPictures, RunView};
use crate::formats::html::escaped;

const PAGE: &str = include_str!("assets/page.html");
const STYLE: &str = include_str!("assets/page.css");
/// The scripts, in the order in which the browser reads them.
const SCRIPTS: [&str; 6] = [
    include_str!("assets/draw.js"),
    include_str!("assets/chart.js"),
    include_str!("assets/map.js"),
    include_str!("assets/sections.js"),
    include_str!("assets/classes.js"),
    include_str!("assets/page.js"),
];

/// The data of a page.
#[derive(Debug, Serialize)]
pub struct Document {
    /// Whether the page asks the server that it came from for changes.
    pub live: bool,
    /// Version of the program.
    pub version: &'static str,
    /// The runs, in the order in which they were given.
    pub runs: Vec<RunView>,
    /// The pictures of each run; `None` where there are none.
    pub pictures: Vec<Option<RunPictures>>,
    /// For each run, the reason why there are no pictures.
    pub missing: Vec<Option<String>>,
}

/// `document` as one HTML file that needs no other file.
pub fn html(document: &Document) -> String {
    let title = match document.runs.as_slice() {
        [run] => format!("{} – vssl", run.name),
        runs => format!("{} runs – vssl", runs.len()),
    };
    // `<` could end the script element that holds the data; JSON can write it as an escape.
    let data =
        serde_json::to_string(document).expect("a page is plain data").replace('<', "\\u003c");
    let scripts = SCRIPTS.join("\n");
    let parts = [
        ("{{title}}", escaped(&title)),
        ("{{connect}}", if document.live { "'self'" } else { "'none'" }.to_owned()),
        ("{{style}}", STYLE.to_owned()),
        ("{{data}}", data),
        ("{{script}}", scripts),
    ];
    // The template has each mark once, in this order. Inserted text is not searched for marks.
    let mut page = String::new();
    let mut rest = PAGE;
    for (mark, text) in parts {
        let (before, after) = rest.split_once(mark).expect("the page has every mark, in order");
        page.push_str(before);
        page.push_str(&text);
        rest = after;
    }
    page + rest
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn names_cannot_leave_their_place_in_the_page() {
        let folder = Path::new("no/such/<script>alert(1)</script>{{script}}");
        let run = RunView::read(folder).unwrap();
        let document = Document {
            live: false,
            version: "0",
            runs: vec![run],
            pictures: vec![None],
            missing: vec![None],
        };
        let page = html(&document);
        assert!(!page.contains("<script>alert"), "the name is markup");
        assert_eq!(page.matches("</script>").count(), 2);
        // The name of SVG's elements is no address that is asked.
        let others = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!others.contains("http://") && !others.contains("https://"), "names a network");
    }
}
