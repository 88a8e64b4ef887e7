// Batches
