// What `sandbox.toolchain` builds stripe-mock from; go.sum pins every source by its checksum.
module subkeeper.example/sandbox/stripemock

go 1.22.1

require github.com/stripe/stripe-mock v0.203.0
