//! A method with settings that fit a benchmark.

use super::{BenchError, WHITENING_EPS};
use crate::{method::learner::AnyMethod, methods};

/// Returns the method `name` with its default settings, except for `changes`: pairs of a key and a whole
/// number. The key is the last part of a setting's name, at any depth of the method's table. Settings that depend on the
/// `batch` are made to fit it: a queue is whole batches, and embeddings are whitened over a batch that has no parts of the
/// default size.
///
/// # Errors
/// The method is unknown, or it lacks or refuses a setting.
pub fn method(
    name: &str,
    batch: usize,
    changes: &[(&str, u32)],
) -> Result<Box<dyn AnyMethod>, BenchError> {
    let entry = methods::find(name).ok_or_else(|| BenchError::unknown(name))?;
    let method = entry.name;
    let mut table = entry.defaults().settings();
    fit(&mut table, batch as i64);
    for (key, value) in changes {
        if !replace(&mut table, key, i64::from(*value)) {
            let mut known = Vec::new();
            whole_numbers(&table, "", &mut known);
            return Err(BenchError::NoSetting { method, key: (*key).to_owned(), known });
        }
    }
    entry.with(&table).map_err(|error| BenchError::Refused { method, what: error.to_string() })
}

/// Makes what depends on the number of images of a forward pass fit `batch`.
fn fit(table: &mut toml::Table, batch: i64) {
    if let Some(toml::Value::Integer(queue)) = table.get_mut("queue") {
        *queue = (*queue / batch.max(1)).max(i64::from(*queue > 0)) * batch;
    }
    if let Some(toml::Value::Integer(size)) = table.get_mut("whitening_size")
        && batch % *size != 0
    {
        *size = batch.max(2);
        // So few images may have no covariance of so many columns.
        table.insert("whitening_eps".to_owned(), WHITENING_EPS.into());
    }
}

/// Replaces the whole number called `key` in `table` or in a table inside. Returns whether there was such a
/// number.
fn replace(table: &mut toml::Table, key: &str, value: i64) -> bool {
    let mut found = false;
    for (name, old) in table.iter_mut() {
        match old {
            toml::Value::Table(inner) => found |= replace(inner, key, value),
            toml::Value::Integer(old) if name.rsplit('_').next() == Some(key) => {
                *old = value;
                found = true;
            }
            _ => {}
        }
    }
    found
}

fn whole_numbers(table: &toml::Table, prefix: &str, into: &mut Vec<String>) {
    for (name, value) in table {
        match value {
            toml::Value::Table(inner) => {
                whole_numbers(inner, &format!("{prefix}{name}."), into);
            }
            toml::Value::Integer(_) => into.push(format!("{prefix}{name}")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_heads_replace_the_defaults_wherever_they_are() {
        let mut table: toml::Table =
            toml::from_str("hidden = 1\nscale = 2.5\n[projector]\nhidden = 2\ndim = 3").unwrap();
        assert!(replace(&mut table, "hidden", 7));
        assert!(!replace(&mut table, "scale", 7), "a fraction is no size");
        let mut known = Vec::new();
        whole_numbers(&table, "", &mut known);
        assert_eq!(known, ["hidden", "projector.hidden", "projector.dim"]);
        assert_eq!(table["hidden"].as_integer(), Some(7));
        assert_eq!(table["projector"]["hidden"].as_integer(), Some(7));
    }

    #[test]
    fn what_is_no_method_or_no_setting_is_refused_with_the_list() {
        let Err(error) = method("vsssl", 4, &[]) else { panic!("there is no such method") };
        assert!(error.to_string().contains("vssl"), "{error}");
        let Err(error) = method("vssl", 4, &[("queue", 1)]) else { panic!("there is no queue") };
        assert!(error.to_string().contains("it has hidden, dim"), "{error}");
    }
}
