package testcluster

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// poll is how often what is waited for is looked at.
const poll = 200 * time.Millisecond

// Await looks until check has no error, and ends the test with its last one if that
// takes longer. It returns how long it took.
func Await(tb testing.TB, longest time.Duration, what string, check func() error) time.Duration {
	tb.Helper()
	began := time.Now()
	for {
		err := check()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > longest {
			tb.Fatalf("waited %s in vain for %s: %v", longest, what, err)
		}
		time.Sleep(poll)
	}
}

// JSON runs kubectl with -o json and decodes what it printed.
func (c *Cluster) JSON(tb testing.TB, into any, args ...string) {
	tb.Helper()
	if err := c.readJSON(into, args...); err != nil {
		tb.Fatal(err)
	}
}

func (c *Cluster) readJSON(into any, args ...string) error {
	out, err := c.Kubectl(append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("decode the answer to kubectl %v: %w", args, err)
	}
	return nil
}

// Apply applies objects: values that encode to JSON as Kubernetes has them. On the
// server's side, for the other way an object is kept in an annotation, and documents
// are larger than that may be.
func (c *Cluster) Apply(tb testing.TB, objects ...any) {
	tb.Helper()
	data, err := json.Marshal(Object{"apiVersion": "v1", "kind": "List", "items": objects})
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := c.KubectlInput(string(data), "apply", "--server-side", "--force-conflicts", "-f", "-"); err != nil {
		tb.Fatal(err)
	}
}

// Object is a part of an object of Kubernetes.
type Object = map[string]any

// AwaitNodes waits until exactly these nodes are Ready, or not, as said.
func (c *Cluster) AwaitNodes(tb testing.TB, longest time.Duration, ready bool, names ...string) time.Duration {
	tb.Helper()
	return Await(tb, longest, fmt.Sprintf("nodes %v to have Ready=%v", names, ready), func() error {
		var list struct {
			Items []struct {
				Metadata struct{ Name string }
				Status   struct {
					Conditions []struct{ Type, Status, Message string }
				}
			}
		}
		if err := c.readJSON(&list, "get", "nodes"); err != nil {
			return err
		}
		is, why := map[string]bool{}, ""
		for _, n := range list.Items {
			for _, cond := range n.Status.Conditions {
				if cond.Type == "Ready" {
					is[n.Metadata.Name] = cond.Status == "True"
					why += n.Metadata.Name + ": " + cond.Message + "; "
				}
			}
		}
		for _, name := range names {
			if got, known := is[name]; !known || got != ready {
				return fmt.Errorf("node %s is not: %s", name, why)
			}
		}
		return nil
	})
}

// Event tells whether there is an Event with this reason about the object, and what
// it says.
func (c *Cluster) Event(reason, about string) (message string, err error) {
	var list struct {
		Items []struct {
			Message        string
			InvolvedObject struct{ Name string }
		}
	}
	if err := c.readJSON(&list, "get", "events", "-A", "--field-selector", "reason="+reason); err != nil {
		return "", err
	}
	for _, e := range list.Items {
		if e.InvolvedObject.Name == about {
			message += e.Message + "\n"
		}
	}
	if message == "" {
		return "", fmt.Errorf("no Event %s about %s", reason, about)
	}
	return message, nil
}
