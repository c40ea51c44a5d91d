package k8s

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/kustomize/kyaml/yaml"
	k8syaml "sigs.k8s.io/yaml"
)

// The API groups in use, as in client-go's scheme, which has all of them and takes minutes to compile.
var groups = []func(*runtime.Scheme) error{
	appsv1.AddToScheme, autoscalingv2.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme,
	networkingv1.AddToScheme, policyv1.AddToScheme, schedulingv1.AddToScheme,
}

// One thing that runs pods.
type workload struct {
	metav1.ObjectMeta
	kind     string
	template corev1.PodTemplateSpec
	selector *metav1.LabelSelector // nil: a job's is made for it
	object   runtime.Object
}

func (w workload) String() string { return w.kind + " " + w.Name }

// All that would be in the cluster.
type world struct {
	objects   []runtime.Object
	meta      map[runtime.Object]metav1.Object
	workloads []workload
	galera    *corev1.PodTemplateSpec // the pods that mariadb-operator makes, as far as they can be known
}

func pick[T runtime.Object](w *world) []T {
	var found []T
	for _, object := range w.objects {
		if typed, ok := object.(T); ok {
			found = append(found, typed)
		}
	}
	return found
}

func find[T runtime.Object](w *world, namespace, name string) (T, bool) {
	for _, object := range pick[T](w) {
		if meta := w.meta[object]; meta.GetNamespace() == namespace && meta.GetName() == name {
			return object, true
		}
	}
	var none T
	return none, false
}

// Unknown fields and wrong types are errors here, and required fields that are missing.
func decode(documents [][]byte) (*world, []string) {
	scheme := runtime.NewScheme()
	for _, add := range groups {
		if err := add(scheme); err != nil {
			return nil, []string{err.Error()}
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	w := &world{meta: map[runtime.Object]metav1.Object{}}
	var wrong []string
	for _, document := range documents {
		var tree map[string]any
		if err := k8syaml.UnmarshalStrict(document, &tree); err != nil {
			return nil, []string{err.Error()}
		}
		label := fmt.Sprintf("%v %v", tree["kind"], yaml.MustParse(string(document)).GetName())
		if tree["kind"] == "MariaDB" {
			wrong = append(wrong, prefix(label, w.addMariaDB(tree))...)
			continue
		}
		object, kind, err := decoder.Decode(document, nil, nil)
		if err != nil {
			wrong = append(wrong, label+": "+err.Error())
			continue
		}
		version := strings.Replace(kind.GroupVersion().String(), "autoscaling/v2", "autoscaling/v2beta2", 1) // which had the same fields
		schema := openapi.SchemaForResourceType(yaml.TypeMeta{APIVersion: version, Kind: kind.Kind})
		if schema == nil {
			wrong = append(wrong, label+": no schema of it is known")
		}
		wrong = append(wrong, prefix(label, missing(schema, "", tree))...)
		wrong = append(wrong, prefix(label, outOfEnum("", "", tree))...)
		w.add(object)
	}
	return w, wrong
}

func prefix(label string, wrong []string) []string {
	for i := range wrong {
		wrong[i] = label + ": " + wrong[i]
	}
	return wrong
}

func (w *world) add(object runtime.Object) {
	w.objects = append(w.objects, object)
	w.meta[object] = object.(metav1.Object)
	switch o := object.(type) {
	case *appsv1.Deployment:
		w.workloads = append(w.workloads, workload{o.ObjectMeta, "Deployment", o.Spec.Template, o.Spec.Selector, o})
	case *appsv1.StatefulSet:
		w.workloads = append(w.workloads, workload{o.ObjectMeta, "StatefulSet", o.Spec.Template, o.Spec.Selector, o})
	case *appsv1.DaemonSet:
		w.workloads = append(w.workloads, workload{o.ObjectMeta, "DaemonSet", o.Spec.Template, o.Spec.Selector, o})
	case *batchv1.CronJob:
		w.workloads = append(w.workloads, workload{o.ObjectMeta, "CronJob", o.Spec.JobTemplate.Spec.Template, nil, o})
	case *batchv1.Job:
		w.workloads = append(w.workloads, workload{o.ObjectMeta, "Job", o.Spec.Template, nil, o})
	}
}

// The types in Go do not tell which fields must be there; the API's own OpenAPI does, which kustomize carries.
func missing(schema *openapi.ResourceSchema, path string, value any) []string {
	if schema == nil {
		return nil
	}
	var wrong []string
	switch v := value.(type) {
	case map[string]any:
		for _, name := range schema.Schema.Required {
			if _, there := v[name]; !there {
				wrong = append(wrong, fmt.Sprintf("%s.%s is missing", path, name))
			}
		}
		for name, child := range v {
			wrong = append(wrong, missing(schema.Field(name), path+"."+name, child)...)
		}
	case []any:
		for i, child := range v {
			wrong = append(wrong, missing(schema.Elements(), fmt.Sprintf("%s[%d]", path, i), child)...)
		}
	}
	return wrong
}

// Nor do they tell which words a field may have.
var enums = map[string]string{
	"concurrencyPolicy": "Allow Forbid Replace", "dnsPolicy": "ClusterFirst ClusterFirstWithHostNet Default None",
	"effect": "NoExecute NoSchedule PreferNoSchedule", "fsGroupChangePolicy": "Always OnRootMismatch",
	"imagePullPolicy": "Always IfNotPresent Never", "nodeTaintsPolicy": "Honor Ignore", "operator": "Equal Exists",
	"pathType": "Exact ImplementationSpecific Prefix", "policyTypes": "Egress Ingress", "protocol": "SCTP TCP UDP",
	"restartPolicy": "Always Never OnFailure", "seccompProfile.type": "Localhost RuntimeDefault Unconfined",
	"strategy.type": "Recreate RollingUpdate", "updateStrategy.type": "OnDelete RollingUpdate", "target.type": "AverageValue Utilization Value",
	"hostPath.type": "BlockDevice CharDevice Directory DirectoryOrCreate File FileOrCreate Socket", "drop": "ALL",
	"whenUnsatisfiable": "DoNotSchedule ScheduleAnyway", "unhealthyPodEvictionPolicy": "AlwaysAllow IfHealthyBudget",
	"accessModes": "ReadOnlyMany ReadWriteMany ReadWriteOnce ReadWriteOncePod", "whenDeleted": "Delete Retain", "whenScaled": "Delete Retain",
}

func outOfEnum(parent, name string, value any) []string {
	var wrong []string
	switch v := value.(type) {
	case map[string]any:
		for child, value := range v {
			wrong = append(wrong, outOfEnum(name, child, value)...)
		}
	case []any:
		for _, value := range v {
			wrong = append(wrong, outOfEnum(parent, name, value)...)
		}
	case string:
		words, there := enums[parent+"."+name]
		if !there {
			words, there = enums[name]
		}
		if there && !slices.Contains(strings.Fields(words), v) {
			wrong = append(wrong, fmt.Sprintf("%s.%s: %q is none of %s", parent, name, v, words))
		}
	}
	return wrong
}

// A part of an OpenAPI schema, as CustomResourceDefinitions have them.
type schema struct {
	Type       string            `json:"type"`
	Enum       []any             `json:"enum"`
	Required   []string          `json:"required"`
	Properties map[string]schema `json:"properties"`
	Additional *schema           `json:"additionalProperties"`
	Items      *schema           `json:"items"`
	IntOrStr   bool              `json:"x-kubernetes-int-or-string"`
}

// mariadb-operator's resource is no type of Kubernetes: it is held against the definition that the operator installs.
func (w *world) addMariaDB(tree map[string]any) []string {
	content, err := os.ReadFile("mariadb-operator-26.3.json")
	if err != nil {
		return []string{err.Error()}
	}
	var definition struct {
		Group, Version string
		Spec           schema
	}
	if err := json.Unmarshal(content, &definition); err != nil {
		return []string{err.Error()}
	}
	wrong := definition.Spec.check("spec", tree["spec"])
	if version := definition.Group + "/" + definition.Version; tree["apiVersion"] != version {
		wrong = append(wrong, fmt.Sprintf("apiVersion is %v, not %s", tree["apiVersion"], version))
	}
	for name := range tree {
		if !slices.Contains([]string{"apiVersion", "kind", "metadata", "spec"}, name) {
			wrong = append(wrong, "unknown field "+name)
		}
	}
	name := tree["metadata"].(map[string]any)["name"].(string)
	w.galera = &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Namespace: "silodns", Name: name,
		Labels: map[string]string{"app.kubernetes.io/name": "mariadb", "app.kubernetes.io/instance": name}}}
	return append(wrong, w.checkMariaDB(tree["spec"].(map[string]any))...)
}

func (s schema) check(path string, value any) []string {
	var wrong []string
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, value) {
		wrong = append(wrong, fmt.Sprintf("%s: %v is none of %v", path, value, s.Enum))
	}
	fits := false
	switch v := value.(type) {
	case map[string]any:
		fits = s.Type == "object"
		for _, name := range s.Required {
			if _, there := v[name]; !there {
				wrong = append(wrong, fmt.Sprintf("%s.%s is missing", path, name))
			}
		}
		for name, child := range v {
			if property, known := s.Properties[name]; known {
				wrong = append(wrong, property.check(path+"."+name, child)...)
			} else if s.Additional != nil {
				wrong = append(wrong, s.Additional.check(path+"."+name, child)...)
			} else {
				wrong = append(wrong, fmt.Sprintf("%s: unknown field %s", path, name))
			}
		}
	case []any:
		fits = s.Type == "array"
		for i, child := range v {
			wrong = append(wrong, s.Items.check(fmt.Sprintf("%s[%d]", path, i), child)...)
		}
	case string:
		fits = s.Type == "string" || s.IntOrStr
	case bool:
		fits = s.Type == "boolean"
	case int64, float64:
		fits = s.Type == "integer" || s.IntOrStr
	}
	if !fits {
		wrong = append(wrong, fmt.Sprintf("%s: %v is no %s", path, value, s.Type))
	}
	return wrong
}
