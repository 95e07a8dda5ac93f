// Package cri asks the node's container runtime which pod sandboxes it knows, over
// the Container Runtime Interface (kubernetes/cri-api, runtime.v1).
//
// It knows the protocol. It must not know what an attachment is or what follows
// from a sandbox that is missing.
package cri

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// patience is how long a runtime may take for an answer. One under load has been
// seen to take seconds to list a few hundred sandboxes.
const patience = 10 * time.Second

// maxAnswer is the size of the largest answer that is taken, in bytes. gRPC's
// own limit of 4 MiB is about 4000 sandboxes with their annotations.
const maxAnswer = 64 << 20

// Runtime is a container runtime behind a unix socket. It holds no connection
// between two questions, so that a runtime that was restarted answers at once.
type Runtime struct {
	socket string
}

// New returns the runtime behind a socket, given by its path, with or without
// unix:// before it. Nothing is opened.
func New(socket string) *Runtime { return &Runtime{strings.TrimPrefix(socket, "unix://")} }

// Sandboxes returns the ids of all pod sandboxes that the runtime knows, those
// that ended and were not removed yet included. A container runtime calls CNI with
// such an id as container id. An error, which comes within ten seconds, means that
// nothing is known about any sandbox.
func (r *Runtime) Sandboxes(ctx context.Context) (map[string]struct{}, error) {
	ids := map[string]struct{}{}
	err := r.ask(ctx, func(ctx context.Context, client runtime.RuntimeServiceClient) error {
		answer, err := client.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
		for _, s := range answer.GetItems() {
			ids[s.GetId()] = struct{}{}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the pod sandboxes of the runtime at %s: %w", r.socket, err)
	}
	return ids, nil
}

// Ping returns the runtime's name and version.
func (r *Runtime) Ping(ctx context.Context) (string, error) {
	var name string
	err := r.ask(ctx, func(ctx context.Context, client runtime.RuntimeServiceClient) error {
		answer, err := client.Version(ctx, &runtime.VersionRequest{})
		name = answer.GetRuntimeName() + " " + answer.GetRuntimeVersion()
		return err
	})
	if err != nil {
		return "", fmt.Errorf("ask the runtime at %s for its version: %w", r.socket, err)
	}
	return name, nil
}

func (r *Runtime) ask(ctx context.Context, question func(context.Context, runtime.RuntimeServiceClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///runtime",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.socket)
		}))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it was only asked
	return question(ctx, runtime.NewRuntimeServiceClient(conn))
}
