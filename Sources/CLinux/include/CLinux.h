int sluice_nothing(void);
