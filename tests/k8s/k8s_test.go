package k8s

import (
	"strings"
	"testing"
)

// What a user applies. hostsync-remove and the variants live in namespaces that an overlay makes.
var deployments = map[string][]string{
	"single":          {"overlays/single"},
	"ha":              {"overlays/ha"},
	"external-db":     {"overlays/external-db"},
	"hostsync-remove": {"overlays/single", "hostsync-remove"},
	"updater-host":    {"variant"},
	"updater-sidecar": {"overlays/single", "examples/sidecar"},
}

// As docs/kubernetes.md says to use a component.
const variant = `
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../overlays/single]
components: [../components/updater-host]
`

// Rendered and decoded; nil when it does not render.
func load(t *testing.T, name string, edits ...edit) (*world, []string) {
	t.Helper()
	userFiles["variant/kustomization.yaml"] = variant
	documents, err := render(edits, deployments[name]...)
	if err != nil {
		return nil, []string{err.Error()}
	}
	return decode(documents)
}

func TestManifests(t *testing.T) {
	for name := range deployments {
		w, wrong := load(t, name)
		t.Run(name+"/renders_and_decodes_strictly", func(t *testing.T) {
			if len(wrong) > 0 {
				t.Fatal(strings.Join(wrong, "\n"))
			}
			if len(w.workloads) < 3 {
				t.Fatalf("%d workloads only", len(w.workloads))
			}
		})
		for rule, check := range rules {
			t.Run(name+"/"+rule, func(t *testing.T) {
				if w == nil {
					t.Skip("does not render")
				}
				if wrong := check(w); len(wrong) > 0 {
					t.Error(strings.Join(wrong, "\n"))
				}
			})
		}
	}
}
