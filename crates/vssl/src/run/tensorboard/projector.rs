//! A folder for TensorBoard's embedding projector: the features, a label for each row, and the pictures.
//!
//! projector.tensorflow.org loads the same files.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::Path,
};

use crate::{
    features::Features,
    run::whole_file::{self, WholeFile},
};

/// The content of the projector's folder.
pub struct Cloud<'a> {
    /// The features, which give one point for each row.
    pub features: &'a Features,
    /// The name of each image, and its class where it is known.
    pub names: &'a [(String, Option<String>)],
    /// The pictures, in the order of the features, from left to right and from top to bottom of one sheet.
    pub sprite: Option<Sprite>,
}

/// A sheet of all pictures.
pub struct Sprite {
    /// The sheet as PNG.
    pub png: Vec<u8>,
    /// The width and height of one picture.
    pub side: usize,
}

/// Writes `tensors.tsv`, `metadata.tsv`, `sprite.png` and the `projector_config.pbtxt` that refers to them
/// into `folder`.
///
/// # Errors
/// A file cannot be written.
pub fn write_projector(folder: &Path, cloud: &Cloud) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let Features { dim, ref values, .. } = *cloud.features;
    let (whole, file) = WholeFile::create(&folder.join("tensors.tsv"))?;
    let mut tensors = BufWriter::new(file);
    for row in values.chunks_exact(dim) {
        let row: Vec<String> = row.iter().map(f32::to_string).collect();
        writeln!(tensors, "{}", row.join("\t"))?;
    }
    whole.finish(&tensors.into_inner().map_err(io::IntoInnerError::into_error)?)?;

    // A file of one column has no header, a file of several columns must have one.
    let labelled = cloud.names.iter().any(|(_, class)| class.is_some());
    let mut metadata = if labelled { "image\tclass\n".to_owned() } else { String::new() };
    for (name, class) in cloud.names {
        metadata.push_str(&cell(name));
        if labelled {
            metadata.push('\t');
            metadata.push_str(&cell(class.as_deref().unwrap_or("")));
        }
        metadata.push('\n');
    }
    whole_file::write(&folder.join("metadata.tsv"), metadata)?;

    let mut config = String::from(
        "embeddings {\n  tensor_name: \"features\"\n  tensor_path: \"tensors.tsv\"\n  \
         metadata_path: \"metadata.tsv\"\n",
    );
    if let Some(Sprite { png, side }) = &cloud.sprite {
        whole_file::write(&folder.join("sprite.png"), png)?;
        config.push_str(&format!(
            "  sprite {{\n    image_path: \"sprite.png\"\n    single_image_dim: {side}\n    \
             single_image_dim: {side}\n  }}\n"
        ));
    }
    config.push_str("}\n");
    whole_file::write(&folder.join("projector_config.pbtxt"), config)
}

fn cell(text: &str) -> String {
    text.replace(['\t', '\n', '\r'], " ")
}
