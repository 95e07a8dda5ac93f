package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
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
	networks *arm.Documents           // their virtual networks; nil before the first reading
	findings map[string][]nsg.Finding // by ConfigMap
}

// source is where a document came from.
type source struct{ configMap, key string }

// writeDocuments gives the node the documents of the cluster, all of one moment,
// the defaults of the namespaces, and the configuration for the next agent.
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
	if err != nil {
		return err
	}
	p.wrote = all
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

// readDocuments keeps little of what may be megabytes of service tags.
func readDocuments(folder string, sources map[string]source) documents {
	read := arm.Load([]string{folder})
	out := documents{
		networks: &arm.Documents{VirtualNetworks: read.VirtualNetworks},
		findings: map[string][]nsg.Finding{},
	}
	for _, f := range policy.Findings(read) {
		if from, known := sources[filepath.Base(f.File)]; known {
			f.File, f.Value, f.Message = from.key, clipped(f.Value), clipped(f.Message)
			out.findings[from.configMap] = append(out.findings[from.configMap], f)
		}
	}
	return out
}

// maxText is how much of a value or message is told, in bytes.
const maxText = 300

func clipped(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// documentsRejected is the reason of the Event that says so.
const documentsRejected = "DocumentsRejected"

// maxFindings bounds the annotation of a ConfigMap: Kubernetes allows 256 KiB for
// all of an object's annotations.
const maxFindings = 50

// tellFindings writes what is wrong with the documents to where they came from. What
// this node could not write down it has not judged.
func (p *pass) tellFindings(ctx context.Context) error {
	var errs []error
	for _, d := range p.wrote {
		errs = append(errs, p.tellFindingsOf(ctx, d))
	}
	return errors.Join(errs...)
}

func (p *pass) tellFindingsOf(ctx context.Context, d kube.Document) error {
	findings := p.documents.findings[d.Name]
	text := ""
	if len(findings) > 0 {
		data, err := json.Marshal(findings[:min(len(findings), maxFindings)])
		if err != nil {
			return fmt.Errorf("write the findings about ConfigMap %s: %w", d.Name, err)
		}
		text = string(data)
	}
	wrote, err := p.Cluster.Annotate(ctx, d.Name, text)
	if err != nil || !wrote {
		return err // another node's agent has told it
	}
	for i, f := range findings {
		if i == maxEvents {
			break
		}
		p.Cluster.Event(kube.DocumentRef(d), f.Severity == nsg.Error, f.Code, eventText(f))
	}
	return nil
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
