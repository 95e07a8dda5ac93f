package main

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Setenv("NODE_NAME", "n1")
	t.Setenv("NAMESPACE", "vnet-system")
	cases := []struct {
		args string
		want string // in the error; "": none
	}{
		{"run", ""}, {"remove", ""}, {"--version", ""},
		{"run --every=1s --grace=10s", ""},
		{"", "run, remove or --version"}, {"walk", `"walk"`}, {"run now", `"now"`}, {"run --bin=/x", "bin"},
		{"run --node=", "--node"}, {"run --namespace=", "--namespace"},
		{"run --every=0s", "--every: 0s"}, {"run --every=-5s", "--every: -5s"},
		{"run --grace=0s", "--grace: 0s"}, {"run --grace=-1m", "--grace: -1m0s"},
	}
	for _, c := range cases {
		_, verb, err := parse(strings.Fields(c.args))
		if c.want == "" && (err != nil || verb != strings.Fields(c.args)[0]) {
			t.Errorf("%q: verb %q, %v", c.args, verb, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: have %v, want an error with %q", c.args, err, c.want)
		}
	}
	t.Logf("%d command lines", len(cases))
}
