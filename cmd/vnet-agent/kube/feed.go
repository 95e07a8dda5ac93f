package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// feed is the watch of one resource: whether it is connected, said once each time
// that this changes.
type feed struct {
	resource string
	optional bool // the server may not have the resource, and nobody waits for it
	log      *slog.Logger
	filled   <-chan struct{}
	missing  chan struct{} // closed when the server does not know the resource

	mu    sync.Mutex
	heard bool // something from the server, or that it cannot be reached
	lost  bool
}

// follow keeps a table of what the source has, until the context ends. It returns
// when the table is filled. O is the type of the source's objects.
func follow[O runtime.Object, T any](ctx context.Context, c *Client, f *feed, source *cache.ListWatch, reduce func(O) T) (*table[T], error) {
	t := newTable(reduce, c.changed)
	f.log, f.filled, f.missing = c.log, t.filled, make(chan struct{})
	c.feeds = append(c.feeds, f)
	var example O
	reflector := cache.NewReflectorWithOptions(f.observe(source), example, t, cache.ReflectorOptions{Name: f.resource})
	go f.run(ctx, reflector)
	return t, f.wait(ctx)
}

// wait returns when the first listing is there, or is not to be waited for.
func (f *feed) wait(ctx context.Context) error {
	const remind = 30 * time.Second
	tick := time.NewTicker(remind)
	defer tick.Stop()
	for {
		select {
		case <-f.filled:
			return nil
		case <-f.missing:
			return nil
		case <-tick.C:
			f.log.Warn("still waiting for the API server", "resource", f.resource)
		case <-ctx.Done():
			return fmt.Errorf("wait for the first listing of %s: %w", f.resource, context.Cause(ctx))
		}
	}
}

// retry is how long after a failure the next attempt comes: client-go's own, which
// spares a server that a thousand agents return to. Reflector.RunWithContext would
// log each of them.
var retry = wait.Backoff{Duration: 800 * time.Millisecond, Cap: 30 * time.Second, Steps: 38, Factor: 2, Jitter: 1}

func (f *feed) run(ctx context.Context, reflector *cache.Reflector) {
	const healthyAfter = 2 * time.Minute
	_ = retry.DelayWithReset(clock.RealClock{}, healthyAfter).Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		if err := reflector.ListAndWatchWithContext(ctx); err != nil {
			f.tell(ctx, err)
		}
		return false, nil
	})
}

// errClosed is said of a connection that ends without an answer, such as one to a load
// balancer with no server behind it. client-go makes it a watch without events.
var errClosed = errors.New("the connection was closed")

// observe looks at what becomes of the requests, as the reflector retries some of
// them without telling anybody.
func (f *feed) observe(source *cache.ListWatch) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := source.ListWithContext(ctx, o)
			if err != nil {
				f.tell(ctx, err)
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := source.WatchWithContext(ctx, o)
			switch {
			case err == nil && reflect.TypeOf(w) == reflect.TypeOf(watch.NewEmptyWatch()):
				f.tell(ctx, errClosed)
			case o.SendInitialEvents != nil && apierrors.IsInvalid(err):
				// The server cannot stream a listing, and will be asked for one.
			default:
				f.tell(ctx, err)
			}
			return w, err
		},
	}
}

// tell logs when the connection is lost (or was never there) and when it is back.
func (f *feed) tell(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	first, was := !f.heard, f.lost
	f.heard, f.lost = true, err != nil
	switch {
	case err == nil && was:
		f.log.Info("watching again", "resource", f.resource)
	case err == nil || was:
	case f.optional && apierrors.IsNotFound(err):
		f.log.Warn("the API server has no such resource; will look again", "resource", f.resource, "error", err)
	case first:
		f.log.Warn("cannot watch yet; will try again", "resource", f.resource, "error", err)
	default:
		f.log.Warn("watching no more, and going by the last state; will try again", "resource", f.resource, "error", err)
	}
	if f.optional && apierrors.IsNotFound(err) {
		select {
		case <-f.missing:
		default:
			close(f.missing)
		}
	}
}

func (f *feed) isLost() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost
}
