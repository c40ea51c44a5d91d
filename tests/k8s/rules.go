package k8s

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// The rules by name; a broken manifest in broken_test.go shows for each that it can fail.
var rules = map[string]func(*world) findings{
	"names": checkNames, "selectors": checkSelectors, "references": checkReferences, "pod-security": checkPodSecurity,
	"containers": checkContainers, "network": checkNetwork, "settings": checkSettings, "rollout": checkRollout,
	"jobs": checkJobs, "ingress": checkIngress, "scrape": checkScrape, "tokens": checkTokens,
}

func programOf(image string) string {
	_, name, found := strings.Cut(image, "silodns/")
	name, _, _ = strings.Cut(name, ":")
	if !found {
		return ""
	}
	return "silodns-" + name
}

type setting struct{ required bool }

var row = regexp.MustCompile("^\\| (`SILODNS_[^|]*) \\|.*\\| ([^|]*) \\|$")
var variable = regexp.MustCompile("`(SILODNS_\\w+)`")

// The settings of each program as the README has them, which a test of its own compares with the programs.
func settingsOf(program string) (map[string]setting, error) {
	readme, err := os.ReadFile(filepath.Join(repository, "README.md"))
	if err != nil {
		return nil, err
	}
	_, table, found := strings.Cut(string(readme), "<!-- settings "+program+" -->")
	table, _, ended := strings.Cut(table, "<!-- end -->")
	settings := map[string]setting{}
	for _, line := range strings.Split(table, "\n") {
		if cells := row.FindStringSubmatch(line); cells != nil {
			for _, name := range variable.FindAllStringSubmatch(cells[1], -1) {
				settings[name[1]] = setting{required: strings.Contains(cells[2], "Required")}
			}
		}
	}
	if !found || !ended || len(settings) == 0 {
		return nil, fmt.Errorf("README.md has no table of the settings of %s", program)
	}
	return settings, nil
}

// The environment of a container, as far as it stands in the manifests.
func (w *world) environment(namespace string, c corev1.Container) map[string]string {
	values := map[string]string{}
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil {
			if configMap, there := find[*corev1.ConfigMap](w, namespace, from.ConfigMapRef.Name); there {
				for name, value := range configMap.Data {
					values[name] = value
				}
			}
		}
	}
	for _, env := range c.Env {
		values[env.Name] = env.Value
	}
	return values
}

// The programs refuse to start with a setting that they do not know, or without one that they need. Every one of them can be set in the *.env: the manifests
// themselves name only where something is mounted.
func checkSettings(w *world) (f findings) {
	for _, load := range w.workloads {
		for _, c := range allContainers(load.template.Spec) {
			program := programOf(c.Image)
			if program == "" {
				continue
			}
			known, err := settingsOf(program)
			if err != nil {
				f.add("%s", err)
				continue
			}
			given := w.environment(load.Namespace, c)
			for name := range given {
				if _, is := known[name]; strings.HasPrefix(name, "SILODNS_") && !is {
					f.add("%s, %s: %s is no setting of %s", load, c.Name, name, program)
				}
			}
			for _, env := range c.Env {
				if strings.HasPrefix(env.Name, "SILODNS_") && env.Value != "" && !strings.HasPrefix(env.Value, "/") {
					f.add("%s, %s: %s=%s wins over the files of settings: it belongs there", load, c.Name, env.Name, env.Value)
				}
			}
			removes := len(c.Args) == 1 && c.Args[0] == "--remove"
			for name, setting := range known {
				if _, is := given[name]; setting.required && !is && !removes {
					f.add("%s, %s: %s needs %s", load, c.Name, program, name)
				}
			}
			if strings.HasPrefix(given["SILODNS_URL"], "http://") && given["SILODNS_ALLOW_PLAIN_HTTP"] != "true" {
				f.add("%s, %s: credentials over http without SILODNS_ALLOW_PLAIN_HTTP", load, c.Name)
			}
		}
	}
	return f
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// Each client has a token and no secret beside it, and the hub makes that token for the silos and hostnames that the client is told of.
func checkTokens(w *world) (f findings) {
	var hub map[string]string
	for _, load := range w.workloads {
		for _, c := range load.template.Spec.Containers {
			if programOf(c.Image) == "silodns-api" {
				hub = w.environment(load.Namespace, c)
			}
		}
	}
	within := func(load workload, setting, value, hubs string) {
		for _, word := range words(value) {
			if !slices.Contains(words(hub[hubs]), word) {
				f.add("%s: %s has %s, for which the hub makes no token: %s", load, setting, word, hubs)
			}
		}
	}
	for _, load := range w.workloads {
		for _, c := range allContainers(load.template.Spec) {
			given := w.environment(load.Namespace, c)
			file := path.Base(given["SILODNS_TOKEN_FILE"])
			switch program := programOf(c.Image); {
			case program == "silodns-api" || program == "" || given["SILODNS_URL"] == "":
				continue
			case file == ".":
				f.add("%s, %s: has no token", load, c.Name)
			case file == strings.TrimPrefix(program, "silodns-")+"-token": // not one that was made for it alone
				within(load, "SILODNS_SILO", given["SILODNS_SILO"], "SILODNS_CLIENT_SILOS")
				within(load, "SILODNS_SILOS", given["SILODNS_SILOS"], "SILODNS_CLIENT_SILOS")
				if program == "silodns-updater" {
					within(load, "SILODNS_HOSTNAMES", given["SILODNS_HOSTNAMES"], "SILODNS_CLIENT_HOSTNAMES")
				}
			}
			f.checkSecretsOf(w, load, file)
		}
	}
	return f
}

func (f *findings) checkSecretsOf(w *world, load workload, token string) {
	for _, volume := range load.template.Spec.Volumes {
		if volume.Secret == nil {
			continue
		}
		secret, _ := find[*corev1.Secret](w, load.Namespace, volume.Secret.SecretName)
		for name := range secret.Data {
			if name != token {
				f.add("%s: is given %s, which is no concern of it", load, name)
			}
		}
	}
}

// No request fails and no node is forgotten while something is replaced.
func checkRollout(w *world) (f findings) {
	for _, deployment := range pick[*appsv1.Deployment](w) {
		if deployment.Name != "silodns-api" {
			continue
		}
		update := deployment.Spec.Strategy.RollingUpdate
		if update == nil || update.MaxUnavailable == nil || update.MaxUnavailable.String() != "0" {
			f.add("Deployment %s: maxUnavailable is not 0", deployment.Name)
		}
		for _, c := range deployment.Spec.Template.Spec.Containers {
			f.checkStop(w, deployment, c)
		}
	}
	for _, set := range pick[*appsv1.DaemonSet](w) {
		everywhere := false
		for _, toleration := range set.Spec.Template.Spec.Tolerations {
			everywhere = everywhere || (toleration.Operator == corev1.TolerationOpExists && toleration.Key == "" && toleration.Effect == "")
		}
		if !everywhere {
			f.add("DaemonSet %s does not tolerate every taint", set.Name)
		}
		if set.Spec.UpdateStrategy.RollingUpdate == nil || set.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable == nil {
			f.add("DaemonSet %s: maxUnavailable is not set", set.Name)
		}
		if set.Spec.Template.Spec.PriorityClassName == "" {
			f.add("DaemonSet %s has no priority", set.Name)
		}
	}
	return f
}

func (f *findings) checkStop(w *world, deployment *appsv1.Deployment, c corev1.Container) {
	grace := deployment.Spec.Template.Spec.TerminationGracePeriodSeconds
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Sleep == nil || c.Lifecycle.PreStop.Sleep.Seconds < 5 {
		f.add("Deployment %s: preStop does not wait until nobody sends requests any more", deployment.Name)
		return
	}
	drain, err := time.ParseDuration(w.environment(deployment.Namespace, c)["SILODNS_DRAIN_TIMEOUT"])
	if need := c.Lifecycle.PreStop.Sleep.Seconds + int64(drain.Seconds()) + 5; err != nil || grace == nil || *grace < need {
		f.add("Deployment %s: terminationGracePeriodSeconds is shorter than preStop, SILODNS_DRAIN_TIMEOUT and 5 s", deployment.Name)
	}
}

// Jobs do not pile up.
func checkJobs(w *world) (f findings) {
	for _, cron := range pick[*batchv1.CronJob](w) {
		spec, job := cron.Spec, cron.Spec.JobTemplate.Spec
		if spec.ConcurrencyPolicy != batchv1.ForbidConcurrent || spec.StartingDeadlineSeconds == nil || job.ActiveDeadlineSeconds == nil ||
			spec.SuccessfulJobsHistoryLimit == nil || spec.FailedJobsHistoryLimit == nil || job.BackoffLimit == nil {
			f.add("CronJob %s: concurrencyPolicy Forbid, deadlines, limits of history and backoffLimit are not all there", cron.Name)
		}
		for _, c := range job.Template.Spec.Containers {
			if len(c.Args) != 1 || c.Args[0] != "--once" {
				f.add("CronJob %s: would never end without --once", cron.Name)
			}
		}
	}
	return f
}

// Paths that are for the inside: health and figures.
var inside = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true}

// The Ingress tells the outside all of the interface but those, over TLS, and lets a stream through.
func checkIngress(w *world) (f findings) {
	content, err := os.ReadFile(filepath.Join(repository, "services/api/openapi.json"))
	var interface_ struct{ Paths map[string]any }
	if err == nil {
		err = json.Unmarshal(content, &interface_)
	}
	if err != nil {
		f.add("openapi.json: %s", err)
	}
	for _, ingress := range pick[*networkingv1.Ingress](w) {
		note := func(name string) string { return ingress.Annotations["nginx.ingress.kubernetes.io/"+name] }
		read, _ := strconv.Atoi(note("proxy-read-timeout"))
		if note("proxy-buffering") != "off" || read < 60 {
			f.add("Ingress %s: /watch wants proxy-buffering off and a proxy-read-timeout of a minute or more", ingress.Name)
		}
		for _, rule := range ingress.Spec.Rules {
			if len(ingress.Spec.TLS) != 1 || len(ingress.Spec.TLS[0].Hosts) != 1 || ingress.Spec.TLS[0].Hosts[0] != rule.Host || ingress.Spec.TLS[0].SecretName == "" {
				f.add("Ingress %s: no TLS for %s", ingress.Name, rule.Host)
			}
			for path := range interface_.Paths {
				if told := isRouted(rule.HTTP.Paths, path); told == inside[path] {
					f.add("Ingress %s: %s of openapi.json is routed: %v (deploy/k8s/base/hub/ingress.yaml)", ingress.Name, path, told)
				}
			}
		}
	}
	return f
}

func isRouted(paths []networkingv1.HTTPIngressPath, path string) bool {
	for _, p := range paths {
		if p.Path == path || (*p.PathType == networkingv1.PathTypePrefix && strings.HasPrefix(path, strings.TrimSuffix(p.Path, "/")+"/")) {
			return true
		}
	}
	return false
}

// Prometheus is told a port that exists, and may read there without credentials.
func checkScrape(w *world) (f findings) {
	for _, load := range w.workloads {
		for _, c := range load.template.Spec.Containers {
			if programOf(c.Image) != "silodns-api" {
				continue
			}
			notes := load.template.Annotations
			if notes["prometheus.io/scrape"] != "true" || notes["prometheus.io/path"] != "/metrics" ||
				len(c.Ports) == 0 || notes["prometheus.io/port"] != fmt.Sprint(c.Ports[0].ContainerPort) {
				f.add("%s: the annotations for Prometheus do not name its port and path", load)
			}
			if w.environment(load.Namespace, c)["SILODNS_METRICS"] != "anyone" {
				f.add("%s: Prometheus is told to read /metrics, but may not (SILODNS_METRICS)", load)
			}
		}
	}
	return f
}
