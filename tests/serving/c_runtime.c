/* Runs a SavedModel with TensorFlow's C API, in a process without Python.

   c_runtime MODEL
     reads requests from standard input: a line
       INPUT OUTPUT DIMENSIONS SIZE
     and SIZE bytes. INPUT and OUTPUT are the names of tensors in the signature. DIMENSIONS are
     "float:1,64,64,3" for little-endian numbers in row-major order, or "bytes:2" for a tensor of
     strings that all equal the bytes. The answer is a line
       ok SIZE     followed by SIZE bytes, the numbers of OUTPUT or its first string, or
       error TEXT  on one line.
     Exits with status 0 at the end of the input, and with 1 after a malformed request.

   c_runtime MODEL CLIENTS PARALLEL SECONDS < REQUEST
     repeats one request from CLIENTS threads for SECONDS; PARALLEL requests run at the same time
     and the others wait. Prints the latency of each in microseconds, then "end", and waits for the
     end of the input, so that its memory can be measured. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tensorflow/c/c_api.h"

typedef struct {
  TF_Output input, output;
  TF_Tensor *sent;
} Request;

static TF_Graph *graph;
static TF_Session *session;

static void die(const char *what) {
  fprintf(stderr, "c_runtime: %s\n", what);
  exit(1);
}

/* The tensor "name:0" of the graph. */
static TF_Output find(const char *name) {
  char operation[256];
  const char *colon = strrchr(name, ':');
  if (!colon || (size_t)(colon - name) >= sizeof operation) die(name);
  memcpy(operation, name, colon - name);
  operation[colon - name] = 0;
  TF_Output output = {TF_GraphOperationByName(graph, operation), atoi(colon + 1)};
  if (!output.oper) die(name);
  return output;
}

static TF_Tensor *make_tensor(const char *dimensions, const char *data, size_t size) {
  int64_t dims[8], elements = 1;
  int rank = 0;
  for (const char *at = strchr(dimensions, ':') + 1; *at && rank < 8; at += strspn(at, ",")) {
    dims[rank] = strtoll(at, (char **)&at, 10);
    elements *= dims[rank++];
  }
  if (strncmp(dimensions, "float:", 6) == 0) {
    if (elements * sizeof(float) != size) die("the data does not fit the dimensions");
    TF_Tensor *tensor = TF_AllocateTensor(TF_FLOAT, dims, rank, size);
    memcpy(TF_TensorData(tensor), data, size);
    return tensor;
  }
  TF_Tensor *tensor = TF_AllocateTensor(TF_STRING, dims, rank, elements * sizeof(TF_TString));
  TF_TString *strings = TF_TensorData(tensor);
  for (int64_t i = 0; i < elements; i++) {
    TF_StringInit(&strings[i]);
    TF_StringCopy(&strings[i], data, size);
  }
  return tensor;
}

/* Returns 0 at the end of the input. */
static int read_request(Request *request) {
  char line[1024], input[256], output[256], dimensions[256];
  size_t size;
  if (!fgets(line, sizeof line, stdin)) return 0;
  if (sscanf(line, "%255s %255s %255s %zu", input, output, dimensions, &size) != 4 ||
      !strchr(dimensions, ':'))
    die("malformed request");
  char *data = malloc(size + 1);
  if (!data || fread(data, 1, size, stdin) != size) die("truncated request");
  request->input = find(input);
  request->output = find(output);
  request->sent = make_tensor(dimensions, data, size);
  free(data);
  return 1;
}

static TF_Tensor *run(const Request *request, TF_Status *status) {
  TF_Tensor *received = NULL;
  TF_SessionRun(session, NULL, &request->input, &request->sent, 1, &request->output, &received, 1,
                NULL, 0, NULL, status);
  return TF_GetCode(status) == TF_OK ? received : NULL;
}

static void write_value(TF_Tensor *value) {
  const char *data = TF_TensorData(value);
  size_t size = TF_TensorByteSize(value);
  if (TF_TensorType(value) == TF_STRING) {
    const TF_TString *string = TF_TensorData(value);
    data = TF_StringGetDataPointer(string);
    size = TF_StringGetSize(string);
  }
  printf("ok %zu\n", size);
  fwrite(data, 1, size, stdout);
  TF_DeleteTensor(value);
}

static void write_error(const char *message) {
  fputs("error ", stdout);
  for (; *message; message++) putchar(*message == '\n' ? ' ' : *message);
  putchar('\n');
}

static void serve(void) {
  TF_Status *status = TF_NewStatus();
  Request request;
  while (read_request(&request)) {
    TF_Tensor *received = run(&request, status);
    TF_DeleteTensor(request.sent);
    if (received)
      write_value(received);
    else
      write_error(TF_Message(status));
    fflush(stdout);
  }
  TF_DeleteStatus(status);
}

static Request repeated;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static long arrived, admitted; /* tickets, in the order of arrival */
static double end;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static void *client(void *unused) {
  TF_Status *status = TF_NewStatus();
  for (double begin; (begin = now()) < end;) {
    pthread_mutex_lock(&lock);
    for (long ticket = arrived++; ticket >= admitted;) pthread_cond_wait(&turn, &lock);
    pthread_mutex_unlock(&lock);
    TF_Tensor *received = run(&repeated, status);
    if (!received) die(TF_Message(status));
    TF_DeleteTensor(received);
    double latency = now() - begin;
    pthread_mutex_lock(&lock);
    admitted++;
    pthread_cond_broadcast(&turn);
    printf("%.0f\n", latency * 1e6);
    pthread_mutex_unlock(&lock);
  }
  TF_DeleteStatus(status);
  return unused;
}

static void load(int clients, int parallel, double seconds) {
  pthread_t threads[256];
  TF_Status *status = TF_NewStatus();
  if (clients < 1 || clients > 256 || !read_request(&repeated)) die("wrong arguments");
  for (int i = 0; i < 3; i++) { /* the first requests are slower */
    TF_Tensor *received = run(&repeated, status);
    if (!received) die(TF_Message(status));
    TF_DeleteTensor(received);
  }
  admitted = parallel;
  end = now() + seconds;
  for (int i = 0; i < clients; i++) pthread_create(&threads[i], NULL, client, NULL);
  for (int i = 0; i < clients; i++) pthread_join(threads[i], NULL);
  puts("end");
  fflush(stdout);
  while (getchar() != EOF) continue;
  TF_DeleteTensor(repeated.sent);
  TF_DeleteStatus(status);
}

int main(int argc, char **argv) {
  if (argc != 2 && argc != 5) die("wrong arguments");
  TF_Status *status = TF_NewStatus();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tag = "serve";
  graph = TF_NewGraph();
  session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], &tag, 1, graph, NULL, status);
  if (TF_GetCode(status) != TF_OK) die(TF_Message(status));
  if (argc == 2)
    serve();
  else
    load(atoi(argv[2]), atoi(argv[3]), atof(argv[4]));
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
