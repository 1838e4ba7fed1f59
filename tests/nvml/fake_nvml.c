/*
 * libnvidia-ml.so.1 for machines without a GPU: the functions that metricgate calls, with the signatures and structures of the
 * public nvml.h (https://docs.nvidia.com/deploy/nvml-api/), answering from a text file that FAKE_NVML names and a test rewrites.
 *
 * The file holds a key and a value a line. `driver`, `init` (an error code), and for each GPU `<n>.<what>`, for each MIG instance
 * `<n>.<m>.<what>`: uuid, name, total, reserved, used (bytes), utilisation (percent), energy (millijoules), power (milliwatts),
 * mig (0 or 1), compute, graphics (each: pid:bytes, or pid:? where the driver does not tell). Compute processes written as
 * `alive` count only while they live. A value `!<code>` makes the call fail with that code; what is missing is not supported.
 * GPUs and instances are counted until the first without a uuid.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

typedef void *nvmlDevice_t;
typedef int nvmlReturn_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } nvmlMemory_v2_t;
typedef struct { unsigned int gpu, memory; } nvmlUtilization_t;
typedef struct {
  unsigned int pid;
  unsigned long long usedGpuMemory;
  unsigned int gpuInstanceId, computeInstanceId;
} nvmlProcessInfo_t;

#define MOST 64
#define LENGTH 4096
static int initialised;

/* A handle: GPU n is n + 1, its MIG instance m is (n + 1) * 100 + m + 1. */
static nvmlDevice_t handle(unsigned long number) { return (nvmlDevice_t)number; }

static int find(const char *key, char *value) {
  const char *path = getenv("FAKE_NVML");
  FILE *file = path ? fopen(path, "r") : NULL;
  char line[LENGTH];
  int found = 0;
  if (!file) return 0;
  while (!found && fgets(line, sizeof line, file)) {
    size_t length = strlen(key);
    if (strncmp(line, key, length) || line[length] != ' ') continue;
    strcpy(value, line + length + 1);
    value[strcspn(value, "\n")] = 0;
    found = 1;
  }
  fclose(file);
  return found;
}

static nvmlReturn_t read_text(nvmlDevice_t device, const char *what, char *value) {
  unsigned long number = (unsigned long)device;
  char key[100];
  if (!initialised) return UNINITIALIZED;
  if (number == 0) return INVALID_ARGUMENT;
  if (number > 100)
    snprintf(key, sizeof key, "%lu.%lu.%s", number / 100 - 1, number % 100 - 1, what);
  else
    snprintf(key, sizeof key, "%lu.%s", number - 1, what);
  if (!find(key, value)) return NOT_SUPPORTED;
  return value[0] == '!' ? atoi(value + 1) : SUCCESS;
}

static nvmlReturn_t read_number(nvmlDevice_t device, const char *what, unsigned long long *number) {
  char value[LENGTH];
  nvmlReturn_t status = read_text(device, what, value);
  if (status == SUCCESS) *number = strtoull(value, NULL, 10);
  return status;
}

static nvmlReturn_t copy(nvmlDevice_t device, const char *what, char *into, unsigned int length) {
  char value[LENGTH];
  nvmlReturn_t status = read_text(device, what, value);
  if (status != SUCCESS) return status;
  if (strlen(value) + 1 > length) return INSUFFICIENT_SIZE;
  strcpy(into, value);
  return SUCCESS;
}

static unsigned int count(unsigned long parent) {
  char value[LENGTH], key[100];
  unsigned int n = 0;
  for (;; n++) {
    if (parent)
      snprintf(key, sizeof key, "%lu.%u.uuid", parent - 1, n);
    else
      snprintf(key, sizeof key, "%u.uuid", n);
    if (!find(key, value)) return n;
  }
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
  char value[LENGTH];
  (void)flags;
  if (find("init", value)) return atoi(value);
  initialised = 1;
  return SUCCESS;
}

nvmlReturn_t nvmlShutdown(void) { initialised = 0; return SUCCESS; }

const char *nvmlErrorString(nvmlReturn_t status) { (void)status; return "an error of the fake"; }

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length) {
  char value[LENGTH];
  if (!initialised) return UNINITIALIZED;
  if (!find("driver", value) || strlen(value) + 1 > length) return NOT_SUPPORTED;
  strcpy(version, value);
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *devices) {
  if (!initialised) return UNINITIALIZED;
  *devices = count(0);
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
  char value[LENGTH];
  nvmlReturn_t lost = read_text(handle(index + 1), "lost", value);
  if (index >= count(0)) return INVALID_ARGUMENT;
  if (lost != NOT_SUPPORTED) return lost;
  *device = handle(index + 1);
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
  char value[LENGTH];
  if (!initialised) return UNINITIALIZED;
  for (unsigned long gpu = 1; gpu <= count(0); gpu++) {
    nvmlReturn_t lost = read_text(handle(gpu), "lost", value);
    if (read_text(handle(gpu), "uuid", value) == SUCCESS && !strcmp(uuid, value)) {
      *device = handle(gpu);
      return lost == NOT_SUPPORTED ? SUCCESS : lost;
    }
    for (unsigned long instance = 1; instance <= count(gpu); instance++)
      if (read_text(handle(gpu * 100 + instance), "uuid", value) == SUCCESS && !strcmp(uuid, value)) {
        *device = handle(gpu * 100 + instance);
        return SUCCESS;
      }
  }
  return NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) {
  return copy(device, "uuid", uuid, length);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) {
  return copy(device, "name", name, length);
}

typedef unsigned long long bytes;

static nvmlReturn_t memory(nvmlDevice_t device, bytes *total, bytes *reserved, bytes *used) {
  nvmlReturn_t status = read_number(device, "total", total);
  if (status != SUCCESS) return status;
  if (read_number(device, "reserved", reserved) != SUCCESS) *reserved = 0;
  return read_number(device, "used", used);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *info) {
  unsigned long long total, reserved, used;
  nvmlReturn_t status = memory(device, &total, &reserved, &used);
  if (status == SUCCESS) *info = (nvmlMemory_t){total, total - reserved - used, reserved + used};
  return status;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *info) {
  unsigned long long total, reserved, used;
  nvmlReturn_t status = memory(device, &total, &reserved, &used);
  if (info->version != (sizeof *info | 2u << 24)) return 25;
  if (status == SUCCESS) *info = (nvmlMemory_v2_t){info->version, total, reserved, total - reserved - used, used};
  return status;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
  unsigned long long percent;
  nvmlReturn_t status = read_number(device, "utilisation", &percent);
  if (status == SUCCESS) *rates = (nvmlUtilization_t){percent, percent};
  return status;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *energy) {
  return read_number(device, "energy", energy);
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *power) {
  unsigned long long milliwatts;
  nvmlReturn_t status = read_number(device, "power", &milliwatts);
  if (status == SUCCESS) *power = milliwatts;
  return status;
}

/* A process that has ended has no memory on a GPU, also while nobody has collected it. */
static int lives(unsigned int pid) {
  char path[64], line[LENGTH], *end;
  FILE *file;
  snprintf(path, sizeof path, "/proc/%u/stat", pid);
  if (!(file = fopen(path, "r"))) return 0;
  end = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
  fclose(file);
  return end && end[2] != 'Z' && end[2] != 'X';
}

static nvmlReturn_t processes(nvmlDevice_t device, const char *what, unsigned int *length, nvmlProcessInfo_t *infos) {
  char value[LENGTH], alive[LENGTH];
  nvmlProcessInfo_t found[MOST];
  unsigned int n = 0;
  nvmlReturn_t status = read_text(device, what, value);
  if (status != SUCCESS) return status;
  for (char *word = strtok(value, " "); word && n < MOST; word = strtok(NULL, " ")) {
    char *bytes = strchr(word, ':') + 1;
    found[n++] = (nvmlProcessInfo_t){strtoul(word, NULL, 10), *bytes == '?' ? ~0ull : strtoull(bytes, NULL, 10), ~0u, ~0u};
  }
  if (!strcmp(what, "compute") && read_text(device, "alive", alive) == SUCCESS)
    for (char *word = strtok(alive, " "); word && n < MOST; word = strtok(NULL, " "))
      if (lives(strtoul(word, NULL, 10)))
        found[n++] = (nvmlProcessInfo_t){strtoul(word, NULL, 10), strtoull(strchr(word, ':') + 1, NULL, 10), ~0u, ~0u};
  if (n > *length) {
    *length = n;
    return INSUFFICIENT_SIZE;
  }
  *length = n;
  memcpy(infos, found, n * sizeof *found);
  return SUCCESS;
}

#ifndef OLD_DRIVER
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *length, nvmlProcessInfo_t *infos) {
  return processes(device, "compute", length, infos);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned int *length, nvmlProcessInfo_t *infos) {
  return processes(device, "graphics", length, infos);
}
#endif

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t device, unsigned int *length, nvmlProcessInfo_t *infos) {
  return processes(device, "compute", length, infos);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v2(nvmlDevice_t device, unsigned int *length, nvmlProcessInfo_t *infos) {
  return processes(device, "graphics", length, infos);
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending) {
  unsigned long long mode;
  nvmlReturn_t status = read_number(device, "mig", &mode);
  if (status == SUCCESS) *current = *pending = mode;
  return status;
}

/* One place more than there are instances, and the first is empty: places are no indices. */
nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *places) {
  *places = count((unsigned long)device) + 1;
  return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int place, nvmlDevice_t *instance) {
  if (place == 0) return NOT_FOUND;
  *instance = handle((unsigned long)device * 100 + place);
  return SUCCESS;
}
