"""Picture metrics, one a file: functions of dreamed and true frames that know no game."""
