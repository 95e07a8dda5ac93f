package kube

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

type object = map[string]any

// fake is an API server with as much of its behaviour as the package relies on.
type fake struct {
	streams bool // it can stream a listing
	*httptest.Server

	mu        sync.Mutex
	now       int // resource version
	objects   map[string]map[string]object
	history   []change
	woken     chan struct{} // closed at the next change
	down      bool
	missing   bool // the custom resource is
	conflicts int  // how many applies are still to be refused
	used      map[string]bool
	writes    int
	queries   map[string]url.Values // of the last watch of a resource
}

type change struct {
	version  int
	resource string
	kind     string
	object   object
}

func newFake(t *testing.T, streams bool) *fake {
	t.Helper()
	f := &fake{streams: streams, objects: map[string]map[string]object{}, woken: make(chan struct{}),
		used: map[string]bool{}, queries: map[string]url.Values{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

func (f *fake) kubeconfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"x","contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],`+
		`"clusters":[{"name":"c","cluster":{"server":%q}}],"users":[{"name":"u","user":{}}]}`, f.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// set changes the server under its lock and wakes who waits for something.
func (f *fake) set(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.woken)
	f.woken = make(chan struct{})
}

func keyOf(o object) string {
	m := o["metadata"].(object)
	if ns, ok := m["namespace"].(string); ok {
		return ns + "/" + m["name"].(string)
	}
	return m["name"].(string)
}

// put creates or replaces objects, which are JSON.
func (f *fake) put(t *testing.T, resource string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		var o object
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		f.set(func() { f.store(resource, o) })
	}
}

func (f *fake) store(resource string, o object) {
	f.now++
	o["metadata"].(object)["resourceVersion"] = strconv.Itoa(f.now)
	key, kind := keyOf(o), "ADDED"
	if f.objects[resource] == nil {
		f.objects[resource] = map[string]object{}
	}
	if f.objects[resource][key] != nil {
		kind = "MODIFIED"
	}
	f.objects[resource][key] = o
	f.history = append(f.history, change{f.now, resource, kind, o})
}

func (f *fake) remove(resource, key string) {
	f.set(func() {
		f.now++
		o := maps.Clone(f.objects[resource][key])
		o["metadata"] = maps.Clone(o["metadata"].(object))
		o["metadata"].(object)["resourceVersion"] = strconv.Itoa(f.now)
		delete(f.objects[resource], key)
		f.history = append(f.history, change{f.now, resource, "DELETED", o})
	})
}

func (f *fake) get(resource, key string) object {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.objects[resource][key]
}

func (f *fake) count(of *int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *of
}

var kinds = map[string][2]string{
	"nodes":      {"v1", "Node"},
	"configmaps": {"v1", "ConfigMap"},
	"events":     {"v1", "Event"},
	"nodepods":   {"vnet-cni.io/v1alpha1", "NodePods"},
}

// ServeHTTP understands /api/v1/…, with or without a namespace, and /apis/….
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	parts = parts[map[string]int{"api": 2, "apis": 3}[parts[0]]:]
	namespace := ""
	if len(parts) > 2 {
		namespace, parts = parts[1], parts[2:]
	}
	resource, name := parts[0], ""
	if len(parts) == 2 {
		name = parts[1]
	}
	q := r.URL.Query()
	verb := map[string]string{"GET": "list", "POST": "create", "PATCH": "patch", "DELETE": "delete", "PUT": "update"}[r.Method]
	switch {
	case q.Get("watch") != "":
		verb = "watch"
	case name != "" && verb == "list":
		verb = "get"
	}
	f.mu.Lock()
	down, missing := f.down, f.missing && resource == "nodepods"
	f.used[resource+" "+verb] = true
	f.mu.Unlock()
	switch {
	case down:
		if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
			c.Close()
		}
	case missing:
		http.Error(w, "404 page not found", http.StatusNotFound)
	case verb == "watch":
		f.watch(w, r, resource)
	case verb == "list":
		f.list(w, r, resource)
	default:
		f.write(w, r, resource, verb, namespace, name)
	}
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, code int, reason string) {
	answer(w, code, object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": "refused: " + reason})
}

// shown is an object as it was asked for, or nil if the selectors leave it out.
func shown(r *http.Request, resource string, o object) object {
	if !selected(r.URL.Query(), o) {
		return nil
	}
	if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata") {
		return object{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": o["metadata"]}
	}
	out := maps.Clone(o)
	out["apiVersion"], out["kind"] = kinds[resource][0], kinds[resource][1]
	return out
}

// selected tells whether the selectors take the object.
func selected(q url.Values, o object) bool {
	spec, _ := o["spec"].(object)
	status, _ := o["status"].(object)
	set := fields.Set{"spec.nodeName": fmt.Sprint(spec["nodeName"]), "status.phase": fmt.Sprint(status["phase"])}
	if s, err := fields.ParseSelector(q.Get("fieldSelector")); err != nil || !s.Matches(set) {
		return false
	}
	s := q.Get("labelSelector")
	labels, _ := o["metadata"].(object)["labels"].(object)
	_, has := labels[s]
	return s == "" || has
}

func (f *fake) list(w http.ResponseWriter, r *http.Request, resource string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	items := []object{}
	for _, key := range slices.Sorted(maps.Keys(f.objects[resource])) {
		if o := shown(r, resource, f.objects[resource][key]); o != nil {
			items = append(items, o)
		}
	}
	list := shown(r, resource, object{"metadata": object{"labels": object{LabelDocuments: ""}}, "spec": object{"nodeName": "a"}})
	answer(w, 200, object{"apiVersion": list["apiVersion"], "kind": list["kind"].(string) + "List",
		"metadata": object{"resourceVersion": strconv.Itoa(f.now)}, "items": items})
}

// watch sends what happened since the version that was asked for, and what happens.
func (f *fake) watch(w http.ResponseWriter, r *http.Request, resource string) {
	q := r.URL.Query()
	initial := q.Get("sendInitialEvents") == "true"
	if initial && !f.streams {
		refuse(w, 422, "Invalid")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	send := func(kind string, o object) {
		if kind == "MODIFIED" && !selected(q, o) { // who was told of it has to hear that it is no match any more
			_ = enc.Encode(object{"type": "DELETED", "object": object{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": o["metadata"]}})
		} else if o = shown(r, resource, o); o != nil {
			_ = enc.Encode(object{"type": kind, "object": o})
		}
	}
	since, _ := strconv.Atoi(q.Get("resourceVersion"))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queries[resource] = q
	if initial {
		for _, o := range f.objects[resource] {
			send("ADDED", o)
		}
		since = f.now
		send("BOOKMARK", object{"metadata": object{"resourceVersion": strconv.Itoa(since), "labels": object{LabelDocuments: ""},
			"annotations": object{"k8s.io/initial-events-end": "true"}}, "spec": object{"nodeName": "a"}})
	}
	for !f.down && (!f.missing || resource != "nodepods") {
		for _, c := range f.history {
			if c.version > since && c.resource == resource {
				send(c.kind, c.object)
			}
		}
		since = f.now
		w.(http.Flusher).Flush()
		woken := f.woken
		f.mu.Unlock()
		select {
		case <-woken:
		case <-r.Context().Done():
		}
		f.mu.Lock()
		if r.Context().Err() != nil {
			return
		}
	}
}

func (f *fake) write(w http.ResponseWriter, r *http.Request, resource, verb, namespace, name string) {
	data, _ := io.ReadAll(r.Body)
	var body object
	if resource == "events" && verb == "create" { // which is protobuf
		e, _, _ := serializer.NewCodecFactory(newScheme()).UniversalDeserializer().Decode(data, nil, nil)
		data, _ = json.Marshal(e)
	}
	_ = json.Unmarshal(data, &body)
	key := strings.Trim(namespace+"/"+name, "/")
	f.set(func() {
		f.writes++
		old := f.objects[resource][key]
		switch {
		case verb == "delete" && old == nil, resource == "configmaps" && old == nil:
			refuse(w, 404, "NotFound")
		case verb == "delete":
			delete(f.objects[resource], key)
			f.now++
			f.history = append(f.history, change{f.now, resource, "DELETED", old})
			answer(w, 200, object{"kind": "Status", "apiVersion": "v1", "status": "Success"})
		case resource == "nodepods" && f.conflicts > 0:
			f.conflicts--
			refuse(w, 409, "Conflict")
		case resource == "configmaps":
			f.annotate(w, r, old, body)
		case resource == "events":
			f.event(w, r, key, body)
		case r.Header.Get("Content-Type") != "application/apply-patch+yaml" || r.URL.Query().Get("force") != "true":
			refuse(w, 415, "UnsupportedMediaType")
		default:
			f.store(resource, body)
			answer(w, 200, shown(r, resource, body))
		}
	})
}

// annotate merges as RFC 7396 says, with metadata's optimistic lock.
func (f *fake) annotate(w http.ResponseWriter, r *http.Request, old, patch object) {
	meta, wanted := maps.Clone(old["metadata"].(object)), patch["metadata"].(object)
	if meta["resourceVersion"] != wanted["resourceVersion"] || meta["uid"] != wanted["uid"] || len(wanted) != 3 || len(patch) != 1 {
		refuse(w, 409, "Conflict")
		return
	}
	annotations, _ := meta["annotations"].(object)
	if annotations = maps.Clone(annotations); annotations == nil {
		annotations = object{}
	}
	for k, v := range wanted["annotations"].(object) {
		if annotations[k] = v; v == nil {
			delete(annotations, k)
		}
	}
	meta["annotations"] = annotations
	o := maps.Clone(old)
	o["metadata"] = meta
	f.store("configmaps", o)
	answer(w, 200, shown(r, "configmaps", o))
}

func (f *fake) event(w http.ResponseWriter, r *http.Request, key string, body object) {
	if r.Method == http.MethodPatch {
		o := maps.Clone(f.objects["events"][key])
		o["count"] = body["count"]
		body = o
	}
	f.store("events", body)
	answer(w, 200, shown(r, "events", body))
}
