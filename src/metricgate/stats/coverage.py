"""What an interval covers, in words; apart from the methods, so that showing a report needs none of them."""

TEST_SET = "the test set"
TRAINING = "the training noise"
