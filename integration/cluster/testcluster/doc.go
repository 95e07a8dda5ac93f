// Package testcluster drives the Kubernetes cluster that a test runs against: one that
// the test brings up with cluster.sh, or one that is there already. It starts pods,
// sends packets between them, waits for what takes time, and tells what the cluster
// looked like when a test failed.
//
// It asks the cluster as its user does, with kubectl and packets, and knows the
// network's agent by its documented interface only, so that a test cannot believe
// what the code under test says about itself.
package testcluster
