/* Trains the digits network and predicts with it, from C: no Python, no other library, no allocation but the two here.
 *
 *     python examples/digits_mlp.py --export out        writes digits.h, digits.so and digits.bin
 *     cc -O2 -Iout examples/digits.c out/digits.so -Wl,-rpath,$PWD/out -o out/digits
 *     out/digits out/digits.bin [threads]
 *
 * Prints the loss of every step with all its bits; they are those of the training in Python.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "digits.h"

enum { BATCH = 64, PIXELS = 28 * 28 };

/* The file as digits_mlp.py writes it; the pointers point into one block. */
typedef struct {
  int64_t train, test, steps;
  const float *images, *test_images;
  const int64_t *labels, *test_labels, *order;
} Data;

static int64_t *read_words(const char *path) {
  FILE *file = fopen(path, "rb");
  long size;
  int64_t *words;
  if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 24 || fseek(file, 0, SEEK_SET)) return NULL;
  words = malloc(size);
  if (words && fread(words, 1, size, file) != (size_t)size) return NULL;
  fclose(file);
  return words;
}

/* Pixels of a sample fill whole 8-byte words, so every part of the file is aligned. */
static Data split(const int64_t *words) {
  Data data = {words[0], words[1], words[2], NULL, NULL, NULL, NULL, NULL};
  const int64_t *next = words + 3;
  data.images = (const float *)next, next += data.train * PIXELS / 2;
  data.labels = next, next += data.train;
  data.test_images = (const float *)next, next += data.test * PIXELS / 2;
  data.test_labels = next, next += data.test;
  data.order = next;
  return data;
}

static int32_t train(digits *net, const Data *data) {
  static float x[BATCH * PIXELS];
  static int64_t y[BATCH];
  for (int64_t step = 0; step < data->steps; step++) {
    float loss;
    for (int i = 0; i < BATCH; i++) {
      int64_t sample = data->order[step * BATCH + i];
      memcpy(x + i * PIXELS, data->images + sample * PIXELS, PIXELS * sizeof *x);
      y[i] = data->labels[sample];
    }
    int32_t code = digits_train_step(net, x, y, &loss);
    if (code != DIGITS_OK) return code;
    printf("step %d loss %.13a\n", (int)step + 1, loss);
  }
  return DIGITS_OK;
}

static int32_t test(digits *net, const Data *data) {
  static float x[BATCH * PIXELS];
  int64_t classes[BATCH], right = 0;
  for (int64_t start = 0; start < data->test; start += BATCH) {
    int64_t count = data->test - start < BATCH ? data->test - start : BATCH;
    memcpy(x, data->test_images + start * PIXELS, count * PIXELS * sizeof *x);
    int32_t code = digits_predict(net, x, classes);
    if (code != DIGITS_OK) return code;
    for (int64_t i = 0; i < count; i++) right += classes[i] == data->test_labels[start + i];
  }
  printf("%d of %d test digits are right\n", (int)right, (int)data->test);
  return DIGITS_OK;
}

int main(int argc, char **argv) {
  int64_t *words = argc > 1 ? read_words(argv[1]) : NULL;
  int threads = argc > 2 ? atoi(argv[2]) : 1;
  if (!words) {
    fprintf(stderr, "usage: %s digits.bin [threads] (digits_mlp.py --export writes the file)\n", argv[0]);
    return 2;
  }
  Data data = split(words);
  digits *net = aligned_alloc(64, digits_size());
  int32_t code = digits_init(net, threads); /* refuses NULL, should memory have been refused */
  if (code == DIGITS_OK) code = train(net, &data);
  if (code == DIGITS_OK) code = test(net, &data);
  if (code != DIGITS_OK) fprintf(stderr, "error %d: see digits.h\n", (int)code);
  digits_close(net);
  free(net);
  free(words);
  return code == DIGITS_OK ? 0 : 1;
}
