// Prints what `kubectl apply -k` of kustomizations below deploy/k8s would send, as a JSON array, with made-up secrets. Runs in tests/k8s.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"

	"silodns/tests/k8s"
)

func main() {
	documents, err := k8s.Render(os.Args[1:]...)
	objects := []any{}
	for _, document := range documents {
		var object any
		if err == nil {
			err = yaml.Unmarshal(document, &object)
		}
		objects = append(objects, object)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(objects)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
