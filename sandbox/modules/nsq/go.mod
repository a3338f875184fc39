// What `sandbox.toolchain` builds nsqd and nsqlookupd from; go.sum pins every source by its checksum.
module subkeeper.example/sandbox/nsq

go 1.21

require github.com/nsqio/nsq v1.3.0

// nsq's own go.mod has this line; it does not count there for whoever requires nsq.
replace github.com/judwhite/go-svc => github.com/mreiferson/go-svc v1.2.2-0.20210815184239-7a96e00010f6
