//! Judges encoders without labels, to choose among checkpoints or runs: LiDAR, RankMe, effective rank and α-ReQ
//! ([`crate::eval::quality`], [`crate::eval::spectrum`]).
//!
//! `views` computes the features of augmented views, which LiDAR compares; `accuracies` reads what a run has measured
//! with labels, and `correlation` says whether both choose alike. Called by `vssl rank`.

mod accuracies;
mod correlation;
mod views;

use std::sync::Arc;

use vssl_data::{DataError, Dataset, Pipeline, dataset::Subset};

pub use accuracies::{ACCURACIES, Accuracies, accuracies};
pub use correlation::{Correlation, LEAST_PAIRS, correlations, spearman};
pub use views::pipeline;

use crate::{
    encoder::{Encoder, EncoderError, Reading},
    eval::{
        EvalError,
        quality::{
            LidarSettings, PUBLISHED_RANGE, RANK_ME_EPS, alpha_req, covariance_spectrum, rank_me_of,
        },
        spectrum::spectrum,
    },
};

/// A figure that judges features without labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// LiDAR: more is better.
    Lidar,
    /// RankMe: more is better.
    RankMe,
    /// The effective rank: more is better.
    EffectiveRank,
    /// α-ReQ: the nearer to 1, the better.
    AlphaReq,
}

impl Criterion {
    /// In the order of a table.
    pub const ALL: [Self; 4] = [Self::Lidar, Self::RankMe, Self::EffectiveRank, Self::AlphaReq];

    /// The name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lidar => "lidar",
            Self::RankMe => "rankme",
            Self::EffectiveRank => "effective_rank",
            Self::AlphaReq => "alpha_req",
        }
    }

    /// The title of a column.
    pub fn title(self) -> &'static str {
        match self {
            Self::Lidar => "LiDAR",
            Self::RankMe => "RankMe",
            Self::EffectiveRank => "eff. rank",
            Self::AlphaReq => "alpha-ReQ",
        }
    }

    /// Returns a number that is larger for a better value of the figure.
    pub fn score(self, value: f64) -> f64 {
        match self {
            Self::Lidar | Self::RankMe | Self::EffectiveRank => value,
            Self::AlphaReq => -(value - 1.0).abs(),
        }
    }
}

/// What the figures say of an encoder. A figure is `None` where it says nothing of these features.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// LiDAR, from 1 to the number of entries of a feature.
    pub lidar: Option<f64>,
    /// RankMe, from 1 to the number of entries of a feature or of images.
    pub rankme: Option<f64>,
    /// The effective rank, with the same range.
    pub effective_rank: Option<f64>,
    /// The exponent of the decay of the features' spectrum.
    pub alpha_req: Option<f64>,
    /// Why a figure is `None`, as clauses.
    pub remarks: Vec<String>,
    /// The number of entries of a feature.
    pub dim: usize,
    /// The number of images whose features were judged.
    pub images: usize,
    /// The number of images whose views were judged by LiDAR.
    pub lidar_images: usize,
    /// The number of images that could not be read and were left out.
    pub left_out: usize,
}

impl Figures {
    /// Returns the value of a figure.
    pub fn of(&self, criterion: Criterion) -> Option<f64> {
        match criterion {
            Criterion::Lidar => self.lidar,
            Criterion::RankMe => self.rankme,
            Criterion::EffectiveRank => self.effective_rank,
            Criterion::AlphaReq => self.alpha_req,
        }
    }
}

/// Which images are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The numbers of the images whose features are judged, ascending.
    pub images: Vec<usize>,
    /// The numbers of the images whose views are judged by LiDAR, ascending; empty without LiDAR.
    pub of_views: Vec<usize>,
    /// The number of views of each of these.
    pub views: usize,
}

/// Why an encoder cannot be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RankingError {
    /// Its features cannot be computed.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// Its views cannot be made.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Its features cannot be judged.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// The progress of a piece of work: what is done, how many things are done, and how many there are.
pub type Progress<'a> = dyn FnMut(&'static str, usize, usize) + 'a;

/// Judges the features of an encoder. LiDAR is of the views that `pipeline` makes of images, which are drawn by the
/// address (seed of the pipeline, view, draw, number of the image).
///
/// # Errors
/// An image cannot be read, or the features are not finite.
pub fn judge(
    encoder: &Encoder,
    images: &Arc<dyn Dataset>,
    chosen: &Chosen,
    pipeline: &Pipeline,
    reading: &Reading,
    progress: &mut Progress<'_>,
) -> Result<Figures, RankingError> {
    let set: Arc<dyn Dataset> = match chosen.images.len() == images.len() {
        true => Arc::clone(images),
        false => Arc::new(Subset::of(Arc::clone(images), chosen.images.clone())?),
    };
    let mut features = crate::features::Features::default();
    progress("features", 0, set.len());
    let left_out = encoder.each_batch::<RankingError>(&set, reading, |indices, batch| {
        features.dim = batch.dim;
        features.rows += batch.rows;
        features.values.extend(batch.values);
        progress("features", indices.last().map_or(0, |last| last + 1), set.len());
        Ok(())
    })?;
    progress("spectrum", 0, 0);
    let found = spectrum(&features)?;
    let alpha = alpha_req(&covariance_spectrum(&features)?, PUBLISHED_RANGE).weighted;
    let mut figures = Figures {
        rankme: Some(rank_me_of(&found.singular_values, RANK_ME_EPS)),
        effective_rank: Some(found.effective_rank),
        alpha_req: Some(alpha).filter(|&alpha| alpha != 0.0),
        dim: features.dim,
        images: features.rows,
        left_out,
        ..Figures::default()
    };
    if figures.alpha_req.is_none() {
        let remark =
            "alpha-ReQ cannot be fitted: the spectrum has fewer than five eigenvalues above 0";
        figures.remarks.push(remark.to_owned());
    }
    drop(features);
    if !chosen.of_views.is_empty() {
        add_lidar(&mut figures, encoder, images, chosen, pipeline, reading, progress)?;
    }
    Ok(figures)
}

fn add_lidar(
    figures: &mut Figures,
    encoder: &Encoder,
    images: &Arc<dyn Dataset>,
    chosen: &Chosen,
    pipeline: &Pipeline,
    reading: &Reading,
    progress: &mut Progress<'_>,
) -> Result<(), RankingError> {
    let (scatter, unread) = views::scatter(encoder, images, chosen, pipeline, reading, progress)?;
    figures.lidar_images = scatter.images();
    figures.left_out = figures.left_out.max(unread);
    if scatter.images() < 2 {
        figures.remarks.push("LiDAR needs two images that can be read".to_owned());
        return Ok(());
    }
    progress("LiDAR", 0, 0);
    let settings = LidarSettings::default();
    let found = scatter.lidar(settings)?;
    // Where ε outweighs the eigenvalues, features that are all alike would have the largest LiDAR of all.
    match found.top_eigenvalue > settings.epsilon * figures.dim as f64 {
        true => figures.lidar = Some(found.lidar),
        false => figures
            .remarks
            .push("LiDAR says nothing: the features of all images are alike".to_owned()),
    }
    Ok(())
}
