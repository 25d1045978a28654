# What the scripts of this folder share: sourced, with the working folder at the root of the repository.
# The program is built, or the one that VSSL names is taken.

if [ -z "${VSSL:-}" ]; then
    cargo build --release --bin vssl
    VSSL=target/release/vssl
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# A training of seconds that goes through everything: epochs, evaluations, the best checkpoint, TensorBoard.
recipe=recipes/quickstart.toml
small=(--threads 1 --quiet --set data.workers=1 --set data.limit_train=64 --set data.limit_validation=32
    --set backbone.width=4 --set vssl.hidden=16 --set vssl.dim=8 --set train.batch=16 --set train.epochs=3
    --set log.every_steps=1 --set log.tensorboard=true --set knn.every_epochs=1
    --set checkpoint.best=true --set checkpoint.every_steps=1 --set checkpoint.keep=2)

fail() {
    echo "$0: $*" >&2
    exit 1
}
