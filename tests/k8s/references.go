package k8s

import (
	"fmt"
	"path"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

type findings []string

func (f *findings) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

func selects(selector *metav1.LabelSelector, of map[string]string) bool {
	compiled, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && compiled.Matches(labels.Set(of))
}

// What a policy or service can select: the templates in a namespace, and the operator's pods.
func (w *world) templates(namespace string, selector *metav1.LabelSelector) []corev1.PodTemplateSpec {
	var found []corev1.PodTemplateSpec
	for _, load := range w.workloads {
		if load.Namespace == namespace && selects(selector, load.template.Labels) {
			found = append(found, load.template)
		}
	}
	if w.galera != nil && w.galera.Namespace == namespace && selects(selector, w.galera.Labels) {
		found = append(found, *w.galera)
	}
	return found
}

func allContainers(spec corev1.PodSpec) []corev1.Container {
	return append(append([]corev1.Container{}, spec.InitContainers...), spec.Containers...)
}

func hasPort(template corev1.PodTemplateSpec, port intstr.IntOrString) bool {
	for _, c := range allContainers(template.Spec) {
		for _, p := range c.Ports {
			if port.String() == p.Name || port.String() == fmt.Sprint(p.ContainerPort) {
				return true
			}
		}
	}
	return len(template.Spec.Containers) == 0 // the operator's: not known here
}

// Every name says one thing, and its namespace is there.
func checkNames(w *world) (f findings) {
	seen := map[string]bool{}
	for _, object := range w.objects {
		meta := w.meta[object]
		name := fmt.Sprintf("%T %s/%s", object, meta.GetNamespace(), meta.GetName())
		if seen[name] {
			f.add("%s is there twice", name)
		}
		seen[name] = true
		if meta.GetNamespace() == "" {
			if !isClusterWide(object) {
				f.add("%s has no namespace", name)
			}
		} else if _, there := find[*corev1.Namespace](w, "", meta.GetNamespace()); !there {
			f.add("%s: there is no such namespace", name)
		}
	}
	return f
}

func isClusterWide(object runtime.Object) bool {
	switch object.(type) {
	case *corev1.Namespace, *schedulingv1.PriorityClass:
		return true
	}
	return false
}

// What selects pods selects some: workloads, services, policies, budgets.
func checkSelectors(w *world) (f findings) {
	for _, load := range w.workloads {
		if load.selector != nil && !selects(load.selector, load.template.Labels) {
			f.add("%s: its selector does not match its own pods", load)
		}
		for _, spread := range load.template.Spec.TopologySpreadConstraints {
			if !selects(spread.LabelSelector, load.template.Labels) {
				f.add("%s: topologySpreadConstraints does not count its own pods", load)
			}
		}
	}
	for _, service := range pick[*corev1.Service](w) {
		templates := w.templates(service.Namespace, &metav1.LabelSelector{MatchLabels: service.Spec.Selector})
		if len(templates) != 1 || len(service.Spec.Selector) == 0 {
			f.add("Service %s selects the pods of %d workloads", service.Name, len(templates))
		}
		for _, port := range service.Spec.Ports {
			for _, template := range templates {
				if !hasPort(template, port.TargetPort) {
					f.add("Service %s: no container has the port %s", service.Name, port.TargetPort.String())
				}
			}
		}
	}
	for _, budget := range pick[*policyv1.PodDisruptionBudget](w) {
		if len(w.templates(budget.Namespace, budget.Spec.Selector)) != 1 {
			f.add("PodDisruptionBudget %s does not select one workload's pods", budget.Name)
		}
	}
	for _, policy := range pick[*networkingv1.NetworkPolicy](w) {
		templates := w.templates(policy.Namespace, &policy.Spec.PodSelector)
		if len(templates) == 0 {
			f.add("NetworkPolicy %s selects no pod", policy.Name)
		}
		for _, rule := range policy.Spec.Ingress {
			f = append(f, checkPolicyPorts(policy.Name, rule.Ports, templates)...)
			f = append(f, checkPeers(w, policy, rule.From, nil)...)
		}
		for _, rule := range policy.Spec.Egress {
			f = append(f, checkPeers(w, policy, rule.To, rule.Ports)...)
		}
	}
	return f
}

func checkPolicyPorts(policy string, ports []networkingv1.NetworkPolicyPort, templates []corev1.PodTemplateSpec) (f findings) {
	for _, port := range ports {
		for _, template := range templates {
			if !hasPort(template, *port.Port) {
				f.add("NetworkPolicy %s: no container has the port %s", policy, port.Port.String())
			}
		}
	}
	return f
}

// Pods that are named as peers exist, if their namespace is one of these here.
func checkPeers(w *world, policy *networkingv1.NetworkPolicy, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) (f findings) {
	for _, peer := range peers {
		if peer.PodSelector == nil {
			continue
		}
		namespace := policy.Namespace
		if peer.NamespaceSelector != nil {
			namespace = peer.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"]
			if _, there := find[*corev1.Namespace](w, "", namespace); !there {
				continue
			}
		}
		templates := w.templates(namespace, peer.PodSelector)
		if len(templates) == 0 {
			f.add("NetworkPolicy %s: a peer selects no pod", policy.Name)
		}
		f = append(f, checkPolicyPorts(policy.Name, ports, templates)...)
	}
	return f
}

func (w *world) keys(namespace, name string, secret bool) map[string]bool {
	keys := map[string]bool{}
	if s, there := find[*corev1.Secret](w, namespace, name); secret && there {
		for key := range s.Data {
			keys[key] = true
		}
		return keys
	}
	if c, there := find[*corev1.ConfigMap](w, namespace, name); !secret && there {
		for key := range c.Data {
			keys[key] = true
		}
		return keys
	}
	return nil
}

// Whatever a pod names is there: ConfigMaps, Secrets and their files, accounts, priorities, volumes, ports.
func checkReferences(w *world) (f findings) {
	for _, load := range w.workloads {
		spec := load.template.Spec
		if account, there := find[*corev1.ServiceAccount](w, load.Namespace, spec.ServiceAccountName); !there {
			f.add("%s: there is no ServiceAccount %q", load, spec.ServiceAccountName)
		} else if account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken {
			f.add("ServiceAccount %s has a token", account.Name)
		}
		if _, there := find[*schedulingv1.PriorityClass](w, "", spec.PriorityClassName); !there && spec.PriorityClassName != "" {
			f.add("%s: there is no PriorityClass %s", load, spec.PriorityClassName)
		}
		files, claims := f.volumes(w, load)
		mounted := map[string]bool{}
		for _, c := range allContainers(spec) {
			paths := map[string]bool{}
			for _, mount := range c.VolumeMounts {
				mounted[mount.Name] = true
				if _, there := files[mount.Name]; !there && !claims[mount.Name] {
					f.add("%s, %s: there is no volume %s", load, c.Name, mount.Name)
				}
				for file := range files[mount.Name] {
					paths[path.Join(mount.MountPath, file)] = true
				}
			}
			f.container(w, load, c, paths)
		}
		for volume := range files {
			if !mounted[volume] {
				f.add("%s: nobody mounts the volume %s", load, volume)
			}
		}
	}
	return append(f, checkTargets(w)...)
}

func (f *findings) volumes(w *world, load workload) (files map[string]map[string]bool, claims map[string]bool) {
	files, claims = map[string]map[string]bool{}, map[string]bool{}
	for _, volume := range load.template.Spec.Volumes {
		files[volume.Name] = map[string]bool{}
		switch {
		case volume.Secret != nil:
			files[volume.Name] = w.keys(load.Namespace, volume.Secret.SecretName, true)
		case volume.ConfigMap != nil:
			files[volume.Name] = w.keys(load.Namespace, volume.ConfigMap.Name, false)
		}
		if files[volume.Name] == nil {
			f.add("%s: what the volume %s names is not there", load, volume.Name)
		}
	}
	if set, is := load.object.(*appsv1.StatefulSet); is {
		for _, claim := range set.Spec.VolumeClaimTemplates {
			claims[claim.Name] = true
		}
		if _, there := find[*corev1.Service](w, load.Namespace, set.Spec.ServiceName); !there {
			f.add("%s: there is no Service %s", load, set.Spec.ServiceName)
		}
	}
	return files, claims
}

func (f *findings) container(w *world, load workload, c corev1.Container, paths map[string]bool) {
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef == nil || w.keys(load.Namespace, from.ConfigMapRef.Name, false) == nil {
			f.add("%s, %s: envFrom names no ConfigMap that is there", load, c.Name)
		}
	}
	for _, env := range c.Env {
		if (strings.HasSuffix(env.Name, "_PASSWORD_FILE") || strings.HasSuffix(env.Name, "_CA")) && !paths[env.Value] {
			f.add("%s, %s: %s names a file that no volume has: %s", load, c.Name, env.Name, env.Value)
		}
		if env.ValueFrom != nil && env.ValueFrom.FieldRef != nil {
			key := strings.TrimSuffix(strings.TrimPrefix(env.ValueFrom.FieldRef.FieldPath, "metadata.annotations['"), "']")
			if _, there := load.template.Annotations[key]; !there {
				f.add("%s, %s: the pod has no annotation %s", load, c.Name, key)
			}
		}
	}
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		if probe != nil && probe.HTTPGet != nil && !hasPort(corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{c}}}, probe.HTTPGet.Port) {
			f.add("%s, %s: a probe asks the port %s, which it does not have", load, c.Name, probe.HTTPGet.Port.String())
		}
	}
}

// Whatever an Ingress or an autoscaler is for is there.
func checkTargets(w *world) (f findings) {
	for _, scaler := range pick[*autoscalingv2.HorizontalPodAutoscaler](w) {
		target, there := find[*appsv1.Deployment](w, scaler.Namespace, scaler.Spec.ScaleTargetRef.Name)
		if !there {
			f.add("HorizontalPodAutoscaler %s: there is no Deployment %s", scaler.Name, scaler.Spec.ScaleTargetRef.Name)
		} else if target.Spec.Replicas != nil {
			f.add("Deployment %s names replicas: applying it again would undo the autoscaler's number", target.Name)
		}
		if scaler.Spec.MinReplicas == nil || *scaler.Spec.MinReplicas < 3 {
			f.add("HorizontalPodAutoscaler %s: fewer than three replicas", scaler.Name)
		}
	}
	for _, ingress := range pick[*networkingv1.Ingress](w) {
		for _, rule := range ingress.Spec.Rules {
			for _, p := range rule.HTTP.Paths {
				service, there := find[*corev1.Service](w, ingress.Namespace, p.Backend.Service.Name)
				if !there {
					f.add("Ingress %s: there is no Service %s", ingress.Name, p.Backend.Service.Name)
					continue
				}
				named := false
				for _, port := range service.Spec.Ports {
					named = named || port.Name == p.Backend.Service.Port.Name
				}
				if !named {
					f.add("Ingress %s: Service %s has no port %q", ingress.Name, service.Name, p.Backend.Service.Port.Name)
				}
			}
		}
	}
	return f
}
