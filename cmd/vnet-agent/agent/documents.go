package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/nodefiles"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// documents is what the agent remembers of the documents on the node.
type documents struct {
	networks *arm.Documents           // their virtual networks and route tables; nil before the first reading
	findings map[string][]nsg.Finding // by ConfigMap
}

// annotated is what the agent has written to a ConfigMap.
type annotated struct{ uid, findings string }

// source is where a document came from.
type source struct{ configMap, key string }

// writeDocuments gives the node the documents of the cluster, all of one moment, and
// what else is in files. There may be room for that where there is none for documents.
func (p *pass) writeDocuments(context.Context) error {
	all := p.Cluster.Documents()
	files, sources := map[string][]byte{}, map[string]source{}
	for _, d := range all {
		for key, content := range d.Files {
			name := nodefiles.DocumentName(d.Name, documentKey(key, d.Files))
			files[name], sources[name] = content, source{d.Name, key}
		}
	}
	changed, err := nodefiles.WriteGeneration(p.documentsDir(), files)
	if changed {
		p.Log.Info("wrote documents", "files", len(files))
	}
	if changed || p.documents.networks == nil { // be it what an agent before this one wrote
		p.documents = readDocuments(p.currentDocuments(), sources)
	}
	if err == nil {
		p.wrote = all
	}
	return errors.Join(err, p.writeSettings())
}

// writeSettings gives the node the defaults of the namespaces, and the configuration for
// the next agent.
func (p *pass) writeSettings() error {
	defaults := map[string]netconf.Default{}
	for name, c := range p.Cluster.Namespaces() {
		defaults[name] = netconf.Default{NSG: c.NSG, ASGs: c.ASGs}
	}
	if _, err := nodefiles.WriteDefaults(p.defaultsDir(), defaults); err != nil || p.invalid != nil {
		return err
	}
	return p.keepGood()
}

// documentKey makes a document also of a key that does not say that it is one: it is
// in a ConfigMap of documents. It does not take another key's name.
func documentKey(key string, keys map[string][]byte) string {
	if ext := filepath.Ext(key); strings.EqualFold(ext, ".json") || strings.EqualFold(ext, ".jsonc") {
		return key
	}
	for taken := true; taken; _, taken = keys[key] {
		key += ".json"
	}
	return key
}

// readDocuments keeps little of what may be megabytes of service tags. Of the findings
// those come first that keep a document from being used.
func readDocuments(folder string, sources map[string]source) documents {
	read := arm.Load([]string{folder})
	out := documents{
		networks: &arm.Documents{VirtualNetworks: read.VirtualNetworks, RouteTables: read.RouteTables},
		findings: map[string][]nsg.Finding{},
	}
	findings := policy.Findings(read)
	rank := map[nsg.Severity]int{nsg.Warning: 1}
	slices.SortStableFunc(findings, func(a, b nsg.Finding) int { return rank[a.Severity] - rank[b.Severity] })
	for _, f := range findings {
		if from, known := sources[filepath.Base(f.File)]; known {
			f.File = from.key
			for _, text := range []*string{&f.NSG, &f.Rule, &f.Property, &f.Value, &f.Message} {
				*text = clipped(*text)
			}
			out.findings[from.configMap] = append(out.findings[from.configMap], f)
		}
	}
	return out
}

// maxText is how much of a name, value or message is told, in bytes.
const maxText = 300

func clipped(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// documentsRejected is the reason of the Event that says so.
const documentsRejected = "DocumentsRejected"

// maxFindings and maxAnnotation, in bytes, bound the annotation of a ConfigMap:
// Kubernetes allows 256 KiB for all of an object's annotations, and refuses more.
const (
	maxFindings   = 50
	maxAnnotation = 32 << 10
)

// tellFindings writes what is wrong with the documents to where they came from. What
// this node could not write down it has not judged.
func (p *pass) tellFindings(ctx context.Context) error {
	var errs []error
	for _, d := range p.wrote {
		errs = append(errs, p.tellFindingsOf(ctx, d))
	}
	maps.DeleteFunc(p.annotated, func(name string, _ annotated) bool {
		return !slices.ContainsFunc(p.wrote, func(d kube.Document) bool { return d.Name == name })
	})
	return errors.Join(errs...)
}

func (p *pass) tellFindingsOf(ctx context.Context, d kube.Document) error {
	findings := p.documents.findings[d.Name]
	text, err := annotation(findings)
	if err != nil {
		return fmt.Errorf("write the findings about ConfigMap %s: %w", d.Name, err)
	}
	now := annotated{d.UID, text}
	if d.Findings != "" && p.annotated[d.Name] == now {
		return nil // an agent of another version finds something else: both would go on for ever
	}
	wrote, err := p.Cluster.Annotate(ctx, d, text)
	if err != nil || !wrote {
		return err // another node's agent has told it, or it is another document by now
	}
	p.annotated[d.Name] = now
	for i, f := range findings {
		if i == maxEvents {
			break
		}
		p.Cluster.Event(kube.DocumentRef(d), f.Severity == nsg.Error, f.Code, eventText(f))
	}
	return nil
}

// annotation is as many of the findings as there is room for; "" for none.
func annotation(findings []nsg.Finding) (string, error) {
	for n := min(len(findings), maxFindings); n > 0; n /= 2 {
		data, err := json.Marshal(findings[:n])
		if err != nil || len(data) <= maxAnnotation {
			return string(data), err
		}
	}
	return "", nil
}

// maxEvents is how many of a ConfigMap's findings become Events. The annotation
// has more.
const maxEvents = 5

func eventText(f nsg.Finding) string {
	var b strings.Builder
	for _, part := range []struct{ what, value string }{{"", f.File}, {"NSG ", f.NSG}, {"rule ", f.Rule}, {"", f.Property}} {
		if part.value != "" {
			b.WriteString(part.what + part.value + ": ")
		}
	}
	if f.Value != "" {
		fmt.Fprintf(&b, "value %q: ", f.Value)
	}
	return b.String() + f.Message
}
