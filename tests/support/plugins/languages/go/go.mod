module crash

go 1.19

require hello v0.0.0

replace hello => ../../../../../plugins/hello-go
