// Package k8s checks deploy/k8s without a cluster: it renders what kubectl apply -k would send, decodes it strictly, and holds it against rules.
package k8s

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// From this directory, in which the tests and cmd/render run.
const repository = "../.."

// What deploy/k8s does not contain and a user makes: deploy/k8s/make-secrets, and the CA of a database elsewhere.
var userFiles = map[string]string{
	"components/values/secrets/db-password":      "db-secret",
	"components/values/secrets/db-root-password": "root-secret",
	"components/values/secrets/admin-password":   "admin-secret",
	"components/values/secrets/updater-token":    "silodns_updater-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"components/values/secrets/hostsync-token":   "silodns_hostsync-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"examples/sidecar/token":                     "silodns_sidecar-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"overlays/external-db/ca.pem":                "-----BEGIN CERTIFICATE-----",
}

// An edit breaks a file on purpose: the first `old` in it becomes `new`; without `old`, the file is gone.
type edit struct{ file, old, new string }

// The tree deploy/k8s in memory, without what lies about in the secrets' places, with userFiles and after the edits.
func tree(edits ...edit) (filesys.FileSystem, error) {
	root := filepath.Join(repository, "deploy/k8s")
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		files[name] = string(content)
		return err
	})
	if err != nil {
		return nil, err
	}
	for name, content := range userFiles {
		files[name] = content
	}
	for _, e := range edits {
		switch content, there := files[e.file]; {
		case there && e.old == "":
			delete(files, e.file)
		case strings.Contains(content, e.old):
			files[e.file] = strings.Replace(content, e.old, e.new, 1)
		default:
			return nil, fmt.Errorf("%s does not contain %q: the test is out of date", e.file, e.old)
		}
	}
	memory := filesys.MakeFsInMemory()
	for name, content := range files {
		if err := memory.WriteFile("/k8s/"+name, []byte(content)); err != nil {
			return nil, err
		}
	}
	return memory, nil
}

// Render is what `kubectl apply -k` of each of these kustomizations below deploy/k8s would send, one document each, with made-up secrets.
func Render(dirs ...string) ([][]byte, error) { return render(nil, dirs...) }

func render(edits []edit, dirs ...string) ([][]byte, error) {
	memory, err := tree(edits...)
	if err != nil {
		return nil, err
	}
	var documents [][]byte
	for _, dir := range dirs {
		rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(memory, "/k8s/"+dir)
		if err != nil {
			return nil, err
		}
		for _, resource := range rendered.Resources() {
			document, err := resource.AsYAML()
			if err != nil {
				return nil, err
			}
			documents = append(documents, document)
		}
	}
	return documents, nil
}
